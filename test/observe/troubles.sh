# Alerts of real troubles, for run.sh, which has started three nodes, an audit
# service that their policy requires, and a Prometheus.

firing() { curl -s "http://127.0.0.1:$port/api/v1/alerts" | python3 -c '
import json, sys
sys.exit(not any(a["labels"]["alertname"] == "Eager" + sys.argv[1] and a["state"] == "firing" for a in json.load(sys.stdin)["data"]["alerts"]))' "$1"; }
export HOLDFAST_CREDENTIALS=$work/domain/credentials.json
troubles="HoldfastNodeDown HoldfastNodeNotReady HoldfastNoLeader HoldfastAuditFailing HoldfastAuditLags HoldfastCollateralAges HoldfastCollateralEnds"
quiet() { for a in $troubles; do if firing "$a"; then return 1; fi; done; }
await quiet

# A node whose process stands still is cut off for who scrapes it, and two of them
# leave the third one without a leader.
halt "${processes[2]}"
await 'firing HoldfastNodeDown'
say "a node that is cut off: HoldfastNodeDown fires"
halt "${processes[1]}"
await 'firing HoldfastNoLeader'
say "the node that is left alone: HoldfastNoLeader fires"
resume
await quiet
say "nodes that go on: the alerts end"

# The audit service stands still: what needs an entry is refused, and not left
# waiting, and nothing that was acknowledged is missing when it goes on.
"$work/holdfast" key list >/dev/null
[ -s "$work/posted.log" ] || fail "the audit service was sent nothing"
halt "$auditor"
began=$SECONDS
if timeout 30 "$work/holdfast" key list >/dev/null 2>"$work/refused"; then fail "an operation without its entry"; fi
[ $((SECONDS - began)) -lt 25 ] || fail "an operation that waits for the audit service $((SECONDS - began)) s"
grep -q unavailable "$work/refused" || fail "refused with: $(cat "$work/refused")"
await 'firing HoldfastAuditFailing'
await 'firing HoldfastAuditLags'
await 'firing HoldfastNodeNotReady'
say "an audit service that hangs: HoldfastAuditFailing, HoldfastAuditLags and HoldfastNodeNotReady fire; refused after $((SECONDS - began)) s at most: $(head -1 "$work/refused")"
resume
await quiet
"$work/holdfast" key list >/dev/null
say "the service goes on: the alerts end, and the node serves"
"$work/holdfast" audit export -o "$work/checkpoint.json"
"$work/holdfast" audit verify "$work/posted.log" --checkpoint "$work/checkpoint.json" >"$work/verified" || fail "what the service has: $(cat "$work/verified")"
say "what the service has verifies, of $(grep -c '^node' "$work/verified") nodes"

# The third node goes on alone under a vendor who publishes nothing any more.
third=${targets% } third=${third##* }
restart() { # flags of the node
	kill "${processes[2]}"
	await '! kill -0 "${processes[2]}" 2>/dev/null'
	"$work/holdfast" dev node serve --dir "$work/domain/node3" --metrics "$third" --audit-web "http://127.0.0.1:$service/" "$@" >"$work/node3.log" 2>&1 &
	processes[2]=$!
	pids+=($!)
	await 'curl -s "http://$third/readyz" | grep -q "\"ready\":true"'
}
restart --sim-collateral-ends 237h36m20s # a third of its thirty days is left but for some seconds
await 'firing HoldfastCollateralAges'
say "collateral with a third of its life left: HoldfastCollateralAges fires"
restart --sim-collateral-ends 45s
await 'firing HoldfastCollateralEnds'
say "collateral that is about to end: HoldfastCollateralEnds fires"
await 'firing HoldfastNodeNotReady'
curl -s "http://$third/readyz" >"$work/why"
grep -q '"ready":false' "$work/why" || fail "ready without collateral: $(cat "$work/why")"
say "collateral that has ended: HoldfastNodeNotReady fires, for $(cat "$work/why")"
restart
await quiet
say "collateral as of today: the alerts end"
