"""Asks a Prometheus every expression of the alert rules and of the dashboard:
each must return data, of each node where it is about nodes. An alert's comparison
is made with `bool`, so that it has data while nothing is wrong.

    expressions.py http://127.0.0.1:9090 TARGET...
"""
import json, re, sys, urllib.parse, urllib.request

base, targets = sys.argv[1], sys.argv[2:]


def ask(expression):
    url = base + "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def rules():
    with urllib.request.urlopen(base + "/api/v1/rules", timeout=30) as answer:
        for group in json.load(answer)["data"]["groups"]:
            for rule in group["rules"]:
                bare = re.sub(r" (==|<|>) (?=[^ ]+( \* \d+)?$)", r" \1 bool ", rule["query"])
                yield "alert " + rule["name"], bare, rule


def panels():
    for panel in json.load(open("deploy/grafana/holdfast.json"))["panels"]:
        for target in panel.get("targets", []):
            yield "panel " + panel["title"], target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*"), None


bad, seen = [], 0
for name, expression, rule in [*rules(), *panels()]:
    seen += 1
    if rule is not None and " bool " not in expression:
        bad.append(f"{name}: no comparison found in {expression}")
        continue
    result = ask(expression)
    nodes = {r["metric"]["instance"] for r in result if "instance" in r["metric"]}
    if not result:
        bad.append(f"{name}: no data for {expression}")
    elif nodes and nodes != set(targets):
        bad.append(f"{name}: data of {sorted(nodes)} alone for {expression}")
    if rule is not None and rule["state"] == "firing" and rule["labels"].get("severity") == "critical":
        bad.append(f"{name}: fires at a healthy domain")
print(f"observe: {seen} expressions, {len(bad)} without what they should have")
for line in bad:
    print("observe:   " + line, file=sys.stderr)
sys.exit(1 if bad or seen < 40 else 0)
