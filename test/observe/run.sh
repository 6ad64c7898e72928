#!/usr/bin/env bash
# What docs/observe.md and docs/limits.md promise, against a real Prometheus: the
# rules are valid, every expression of alerts and dashboard has data from a domain
# that runs, and the alerts of three troubles fire and end: nodes that are cut off,
# an audit service that hangs, a vendor who publishes no new collateral. It takes
# some three minutes.
#
#   test/observe/run.sh                      starts `holdfast dev`, and scrapes that
#   TARGETS="host:port host:port" test/observe/run.sh    scrapes nodes that run already
#
# It needs prometheus and promtool. Where they are missing, and it may, it installs
# the Debian package prometheus, and says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
say() { printf 'observe: %s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "install the Debian package prometheus"
	say "installing the Debian package prometheus"
	apt-get install -y --no-install-recommends prometheus >/dev/null
fi

promtool check rules deploy/prometheus/alerts.yml
(cd deploy/prometheus && promtool test rules alerts_test.yml)

work=$(mktemp -d)
pids=()
halted=() # processes that stand still
halt() { kill -STOP "$1"; halted+=("$1"); }
resume() { for p in "${halted[@]}"; do kill -CONT "$p" 2>/dev/null || true; done; halted=(); }
cleanup() { resume; for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; wait "$p" 2>/dev/null || true; done; rm -rf "$work"; }
trap cleanup EXIT

go build -o "$work/holdfast" ./cmd/holdfast
free() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
await() { for _ in $(seq 360); do if eval "$1"; then return; fi; sleep 0.5; done; fail "waited three minutes for: $1"; }

targets=${TARGETS:-}
if [ -z "$targets" ]; then
	api=$(free) metrics=$(free) service=$(free)
	python3 test/observe/auditservice.py "$service" "$work/posted.log" &
	auditor=$!
	pids+=($auditor)
	"$work/holdfast" dev --nodes 3 --audit --audit-web "http://127.0.0.1:$service/" --dir "$work/domain" \
		--listen "127.0.0.1:$api" --metrics ":$metrics" >"$work/dev.log" 2>&1 &
	pids+=($!)
	await 'grep -q "^Serving until" "$work/dev.log"'
	targets=$(sed -nE 's|.*metrics at http://([0-9.:]+).*|\1|p' "$work/dev.log" | tr '\n' ' ')
	[ "$(wc -w <<<"$targets")" = 3 ] || fail "three nodes show metrics at: $targets"
	processes=($(sed -nE 's|^node[0-9]+ +https.*process ([0-9]+),.*|\1|p' "$work/dev.log"))

	[ "${#processes[@]}" = 3 ] || fail "three nodes are the processes: ${processes[*]}"

	# The commands of docs/limits.md, in their order: an app that is capped is
	# refused, with when to come back, and another is not.
	say "limits"
	test/observe/limits.sh "$work/holdfast" "$work/domain" "https://127.0.0.1:$api"
fi

for t in $targets; do
	await 'curl -s "http://$t/readyz" | grep -q "\"ready\":true"' # one that has just joined takes up the policy in a moment
	curl -sf "http://$t/healthz" >/dev/null || fail "/healthz of $t"
	curl -sf "http://$t/readyz" | grep -q '"ready":true' || fail "/readyz of $t"
done

port=$(free)
python3 - "$work/prometheus.yml" $targets <<'PY'
import json, os, re, sys
# The rules as they are, and the same with their patience cut to a second, so that
# what is done below to nodes shows within this script's time.
rules = [os.path.abspath("deploy/prometheus/alerts.yml"), sys.argv[1] + ".eager"]
text = open(rules[0]).read()
open(rules[1], "w").write(re.sub(r"for: \w+", "for: 1s", re.sub(r"(alert|name): (\w+)", r"\1: Eager\2", text)))
json.dump({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": rules,
           "scrape_configs": [{"job_name": "holdfast", "static_configs": [{"targets": sys.argv[2:]}]}]}, open(sys.argv[1], "w"))
PY
promtool check config "$work/prometheus.yml" >/dev/null
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address="127.0.0.1:$port" >"$work/prometheus.log" 2>&1 &
pids+=($!)
await 'curl -sf "http://127.0.0.1:$port/-/ready" >/dev/null'
say "a real Prometheus scrapes $targets"
sleep 12 # a rate needs two samples, and operations between them
if [ -f "$work/domain/credentials.json" ]; then
	HOLDFAST_CREDENTIALS="$work/domain/credentials.json" "$work/holdfast" key list >/dev/null
	sleep 3
fi
python3 test/observe/expressions.py "http://127.0.0.1:$port" $targets

if [ -n "${processes:-}" ]; then . test/observe/troubles.sh; fi
say "all of it held"
