#!/bin/sh
# Drives the native API of a development domain as three strangers would: curl
# (Connect, JSON), grpcurl (gRPC, by the .proto files: there is no reflection) and
# the SDK. All three must be told the same domain, a call that nobody signed must
# be refused by all in the same words, and with one app's credential they use one
# key: what one of them encrypts the others open. For curl and grpcurl sign.py
# beside this file signs, by docs/signature.md alone.
#
# Needs: go; curl; python3; a Go module proxy, from which grpcurl is built in a
# folder that is removed afterwards. Where one of them is missing it judges nothing,
# says so and succeeds; set REQUIRE_GRPCURL=1 to have it fail then.
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

for tool in curl python3; do
	command -v "$tool" >/dev/null 2>&1 || skip "$tool is not there."
done
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

# From here on each signs as the app that the domain made in the beginning.
app=$work/domain/credentials.json
sign() { python3 test/compat/sign.py "$app" "$address" "$1" <"$2"; }
post() {
	curl -s --cacert "$work/domain/ca.pem" -H 'Content-Type: application/json' -H "$2" --data-binary "@$3" "https://$address/holdfast.v1.$1"
}
signed_json() {
	printf %s "$2" >"$work/body"
	post "$1" "$(sign "$1" "$work/body")" "$work/body"
}
signed_rpc() { # method, JSON, and the same as fields
	method=$1 data=$2
	shift 2
	python3 test/compat/sign.py --message "$@" >"$work/frame"
	"$work/grpcurl" -cacert "$work/domain/ca.pem" -import-path proto -proto holdfast/v1/keys.proto -H "$(sign "$method" "$work/frame")" \
		-d "$data" "$address" "holdfast.v1.$method" 2>&1
}
base() { sed -n "s/.*\"$1\": *\"\([A-Za-z0-9+/=]*\)\".*/\1/p" | head -n 1; }

cat >"$work/sdk.go" <<'END'
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// It opens a ciphertext and encrypts what was in it anew.
func main() {
	log.SetFlags(0)
	var file struct{ AppID, APIKey string }
	b, err := os.ReadFile(os.Args[1])
	check(err)
	check(json.Unmarshal(b, &file))
	ca, err := os.ReadFile(os.Args[2])
	check(err)
	id, err := kms.ParseAppID(file.AppID)
	check(err)
	c, err := client.New(client.Config{URL: os.Args[3], CA: ca, AppID: id, APIKey: client.NewAPIKey(file.APIKey)})
	check(err)
	sealed, err := base64.StdEncoding.DecodeString(os.Args[4])
	check(err)
	plain, err := c.Keys().Decrypt(context.Background(), "", sealed, client.CipherOptions{})
	check(err)
	again, err := c.Keys().Encrypt(context.Background(), "alias/everybody", append(plain.Data, " and the SDK"...), client.CipherOptions{})
	check(err)
	fmt.Println(base64.StdEncoding.EncodeToString(again.Data))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
END

key=$(signed_json KeyService/CreateKey '{"alias":"alias/everybody"}' | sed -n 's/.*"id": *"\([0-9a-f-]*\)".*/\1/p')
[ -n "$key" ] || fail "curl: no key"
plain=$(printf curl | base64)
by_curl=$(signed_json KeyService/Encrypt "{\"key\":\"alias/everybody\",\"plaintext\":\"$plain\"}" | base ciphertext)
[ -n "$by_curl" ] || fail "curl: no ciphertext"
opened=$(signed_rpc KeyService/Decrypt "{\"ciphertext\":\"$by_curl\"}" "2=base64:$by_curl" | base plaintext)
[ "$opened" = "$plain" ] || fail "grpcurl: opened '$opened', and it was '$plain'"
plain=$(printf 'curl, grpcurl' | base64)
by_rpc=$(signed_rpc KeyService/Encrypt "{\"key\":\"$key\",\"plaintext\":\"$plain\"}" "1=$key" "2=base64:$plain" | base ciphertext)
[ -n "$by_rpc" ] || fail "grpcurl: no ciphertext"
by_sdk=$(go run "$work/sdk.go" "$app" "$work/domain/ca.pem" "https://$address" "$by_rpc") || fail "SDK: it did not open what grpcurl encrypted"
opened=$(signed_json KeyService/Decrypt "{\"ciphertext\":\"$by_sdk\"}" | base plaintext | base64 -d)
[ "$opened" = "curl, grpcurl and the SDK" ] || fail "curl: opened '$opened'"

# What was signed is what is done, once.
printf %s '{"alias":"alias/everybody"}' >"$work/body"
printf %s '{"alias":"alias/nobody"}' >"$work/other"
header=$(sign KeyService/DeleteAlias "$work/body")
post KeyService/DeleteAlias "$header" "$work/other" | grep -q '"code":"unauthenticated"' || fail "curl: another body than was signed"
post KeyService/CreateAlias "$header" "$work/body" | grep -q '"code":"unauthenticated"' || fail "curl: another method than was signed"
post KeyService/DeleteAlias "$header" "$work/body" | grep -q '^{}$' || fail "curl: an alias is not deleted"
post KeyService/DeleteAlias "$header" "$work/body" | grep -q '"kind":"replayed"' || fail "curl: a request that was sent before"
signed_json KeyService/DescribeKey '{"key":"alias/everybody"}' | grep -q '"code":"not_found"' || fail "curl: the alias is still there"
signed_rpc KeyService/DescribeKey '{"key":"alias/everybody"}' "1=alias/everybody" | grep -q 'Code: NotFound' || fail "grpcurl: the alias is still there"

echo "curl, grpcurl $version and the SDK were served by domain $a, and used key $key"
