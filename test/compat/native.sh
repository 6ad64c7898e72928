#!/bin/sh
# Drives the native API of a development domain as three strangers would: curl
# (Connect, JSON), grpcurl (gRPC, by the .proto files: there is no reflection) and
# the SDK (as `holdfast` uses it). All three must be told the same domain, and a
# call that nobody signed must be refused by all in the same words.
#
# Needs: go; curl; a Go module proxy, from which grpcurl is built in a folder that
# is removed afterwards. Without curl or grpcurl it judges nothing, says so and
# succeeds; set REQUIRE_GRPCURL=1 to have it fail then.
set -eu
cd "$(dirname "$0")/../.."

version=v1.9.3
work=$(mktemp -d)
domain=
finish() {
	[ -z "$domain" ] || kill "$domain" 2>/dev/null || true
	[ -z "$domain" ] || wait "$domain" 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT

skip() {
	echo "SKIPPED: NOTHING IS JUDGED. $1" >&2
	[ -z "${REQUIRE_GRPCURL:-}" ]
	exit
}
fail() {
	echo "FAILED: $1" >&2
	exit 1
}

command -v curl >/dev/null 2>&1 || skip "curl is not there."
GOBIN="$work" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version" || skip "grpcurl could not be built."
go build -o "$work/holdfast" ./cmd/holdfast

address=127.0.0.1:${PORT:-19470}
"$work/holdfast" dev --dir "$work/domain" --listen "$address" >"$work/log" 2>&1 &
domain=$!
tries=0
until [ -s "$work/domain/ca.pem" ] && curl -sf --cacert "$work/domain/ca.pem" "https://$address/status" >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ "$tries" -lt 240 ] && kill -0 "$domain" 2>/dev/null || { cat "$work/log" >&2; fail "the domain does not come up"; }
	sleep 0.5
done

json() {
	curl -s --cacert "$work/domain/ca.pem" -H 'Content-Type: application/json' -d "$2" "https://$address/holdfast.v1.$1"
}
rpc() {
	"$work/grpcurl" -cacert "$work/domain/ca.pem" -import-path proto -proto "holdfast/v1/$1" -d "$3" "$address" "holdfast.v1.$2" 2>&1
}
member() { sed -n "s/.*\"$1\": *\"\\([0-9a-f]*\\)\".*/\\1/p" | head -n 1; }

a=$(json DomainService/GetStatus '{}' | member domainId)
b=$(rpc domain.proto DomainService/GetStatus '{}' | member domainId)
c=$("$work/holdfast" domain status --json --url "https://$address" --ca "$work/domain/ca.pem" | member domain_id)
[ -n "$a" ] || fail "curl: no status"
[ "$a" = "$b" ] || fail "grpcurl: domain '$b', and curl '$a'"
[ "$a" = "$c" ] || fail "SDK: domain '$c', and curl '$a'"

json KeyService/CreateKey '{}' | grep -q '"code":"unauthenticated"' || fail "curl: a key without a signature"
rpc keys.proto KeyService/CreateKey '{}' | grep -q 'Code: Unauthenticated' || fail "grpcurl: a key without a signature"
json KeyService/CreateKey '{"nothing":1}' | grep -q '"code":"invalid_argument"\|"code":"unauthenticated"' || fail "curl: an unknown member"
json DomainService/RotateMasterSecret '{"order":"{}"}' | grep -q '"code":"invalid_argument"' || fail "curl: an order that is none"
rpc domain.proto DomainService/RotateMasterSecret '{"order":"{}"}' | grep -q 'Code: InvalidArgument' || fail "grpcurl: an order that is none"

echo "curl, grpcurl $version and the SDK were served by domain $a"
