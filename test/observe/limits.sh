#!/usr/bin/env bash
# The commands of docs/limits.md against a domain for development:
#   limits.sh HOLDFAST FOLDER URL
set -euo pipefail
holdfast=$1 domain=$2 url=$3
cd "$domain"
fail() { echo "limits: FAILED: $*" >&2; exit 1; }
export HOLDFAST_CREDENTIALS=$domain/credentials.json

"$holdfast" enroll --url "$url" --charter charter.json --allow-simulated --out capped.json >/dev/null
capped=$(python3 -c 'import json; print(json.load(open("capped.json"))["appid"])')
key=$(HOLDFAST_CREDENTIALS=capped.json "$holdfast" key create --spec AES-256-GCM)
free=$("$holdfast" key create --spec AES-256-GCM)

"$holdfast" policy edit policy.json --charter charter.json --bootstrap bootstrap.json \
	--set 'limits/management={"per_second":200}' \
	--set 'limits/apps=[{"app_id":"'"$capped"'","keys":2,"symmetric":{"per_second":1,"burst":2}}]' --out policy2.json
"$holdfast" policy sign policy2.json --key signer.key
"$holdfast" policy sign policy2.signed.json --key owner.key
"$holdfast" policy submit "$url" policy2.signed.json --charter charter.json --allow-simulated >/dev/null

passed=0 refused=0
for _ in $(seq 12); do
	if echo hello | HOLDFAST_CREDENTIALS=capped.json "$holdfast" encrypt --key "$key" >/dev/null 2>err; then passed=$((passed + 1)); else refused=$((refused + 1)); fi
done
[ "$refused" -gt 0 ] && [ "$passed" -ge 2 ] || fail "the capped app: $passed let through, $refused refused"
for _ in $(seq 12); do echo hello | "$holdfast" encrypt --key "$free" >/dev/null || fail "another app was refused"; done
HOLDFAST_CREDENTIALS=capped.json "$holdfast" key create --spec AES-256-GCM >/dev/null
if HOLDFAST_CREDENTIALS=capped.json "$holdfast" key create --spec AES-256-GCM >/dev/null 2>err; then fail "a third key of an app that may have two"; fi
echo "limits: $passed let through and $refused refused of the capped app, 12 of 12 of the other; a third key refused"
