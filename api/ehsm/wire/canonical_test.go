package wire_test

import (
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
)

// Published vectors of eHSM's v1 signature (appid, API key and timestamp fixed).
const (
	vectorApp  = "11111111-2222-4333-8444-555555555555"
	vectorKey  = "0123456789ABCDEFGHJKLMNPQRSTUVWX"
	vectorTime = "1700000000000"
	vectorHead = `{"appid":"` + vectorApp + `","timestamp":"` + vectorTime + `"`
)

func TestVectors(t *testing.T) {
	tests := []struct{ name, body, signed, sign string }{
		{
			name:   "V1 CreateKey",
			body:   vectorHead + `,"payload":{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}}`,
			signed: "appid=" + vectorApp + "&payload=keyspec=EH_AES_GCM_256&keyusage=EH_KEYUSAGE_ENCRYPT_DECRYPT&origin=EH_INTERNAL_KEY&timestamp=" + vectorTime,
			sign:   "j4tMA4Ug/cdOr0bm4LdPj1taocu/MlTFa2CbspUDvlY=",
		}, {
			name:   "V2 GenerateDataKey with a nonce and an integer",
			body:   vectorHead + `,"nonce":"2374462904","payload":{"keylen":16,"keyid":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","aad":"YWFk"}}`,
			signed: "appid=" + vectorApp + "&nonce=2374462904&payload=aad=YWFk&keyid=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee&keylen=16&timestamp=" + vectorTime,
			sign:   "qd8+fIkdUHxzqlbqK3b3UItCav/XbHw1JpFFGhwpeUQ=",
		}, {
			name:   "V3 ListKey without a payload",
			body:   vectorHead + `}`,
			signed: "appid=" + vectorApp + "&timestamp=" + vectorTime,
			sign:   "fbv89UpublE2ZVEKKhYdMsMhS/kuxuaOfMFjTDxu6AU=",
		}, {
			name: "V4 edge cases",
			body: vectorHead + `,"nonce":"","payload":{"secretName":"s","secretData":"p&q=%20+é","description":"","B":"upper",` +
				`"a":{"z":1,"b":true,"c":false,"d":0,"e":null},"l":["x","y"],"m":[],"o":{},"f":1.5,"zero":"0"}}`,
			signed: "appid=" + vectorApp + "&payload=B=upper&a=b=true&z=1&f=1.5&l=0=x&1=y&o=&secretData=p&q=%20+é&secretName=s&zero=0&timestamp=" + vectorTime,
			sign:   "iEbH/UGklKf4uQdjcjU9fscGFHk0ap4NkU17XucghEY=",
		}, {
			name:   "V5 an empty payload",
			body:   vectorHead + `,"payload":{}}`,
			signed: "appid=" + vectorApp + "&payload=&timestamp=" + vectorTime,
			sign:   "UPlk+3hS0+2BC0ELDGplHtoqrRjSpB8WnPDZtgnmew0=",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signed, err := wire.StringToSign([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.signed, string(signed)); diff != "" {
				t.Errorf("string to sign (-want +got):\n%s", diff)
			}
			if got := sign(signed); got != tt.sign {
				t.Errorf("sign = %s, want %s", got, tt.sign)
			}
		})
	}
}

func sign(signed []byte) string {
	return base64.StdEncoding.EncodeToString(wire.MAC([]byte(vectorKey), signed))
}

// TestResponseVectors checks V6 and V7, the signature of VerifyQuote's result.
func TestResponseVectors(t *testing.T) {
	head := `{"mr_enclave":"` + repeat("a", 64) + `","mr_signer":"` + repeat("b", 64) + `","nonce":"bm9uY2U="`
	prefix := "mr_enclave=" + repeat("a", 64) + "&mr_signer=" + repeat("b", 64) + "&nonce=bm9uY2U="
	tests := []struct{ name, object, signed, sign string }{
		{"V6 result true", head + `,"result":true}`, prefix + "&result=true", "2anvRQOy0A1F9CtRwzBNpwj679YVQdi/Dfqd69+IeVk="},
		{"V7 result 0", head + `,"result":0}`, prefix, "sP7jTQTRZxwWS+7l1JXgvLpj1mbJzjzABa8BgwYPXPQ="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signed, err := wire.Canonical([]byte(tt.object))
			if err != nil {
				t.Fatal(err)
			}
			if string(signed) != tt.signed {
				t.Errorf("signed %q, want %q", signed, tt.signed)
			}
			if got := sign(signed); got != tt.sign {
				t.Errorf("sign = %s, want %s", got, tt.sign)
			}
		})
	}
}

// TestCanonical walks the rules of canonical form one by one.
func TestCanonical(t *testing.T) {
	tests := []struct{ name, object, want string }{
		{"sorted by name", `{"b":"1","a":"2"}`, "a=2&b=1"},
		{"upper case first", `{"a":"1","B":"2"}`, "B=2&a=1"},
		{"a prefix first", `{"ab":"1","a":"2"}`, "a=2&ab=1"},
		{"the empty name", `{"b":"1","":"2"}`, "=2&b=1"},
		{"surrogates below U+E000 and above", `{"` + "\U0001F600" + `":"1","` + "\uE000" + `":"2","` + "\uFFFD" + `":"3","z":"4"}`,
			"z=4&\U0001F600=1&\uE000=2&\uFFFD=3"},
		{"below the surrogates as in UTF-8", `{"` + "\uD7FF" + `":"1","` + "\U0001F600" + `":"2","é":"3"}`, "é=3&\uD7FF=1&\U0001F600=2"},

		{"empty string skipped", `{"a":"","b":"1"}`, "b=1"},
		{"zero skipped", `{"a":0,"b":"1"}`, "b=1"},
		{"minus zero skipped", `{"a":-0,"b":"1"}`, "b=1"},
		{"zero with a fraction skipped", `{"a":0.000,"b":"1"}`, "b=1"},
		{"underflow is zero", `{"a":1e-400,"b":-1e-400}`, ""},
		{"false skipped", `{"a":false,"b":"1"}`, "b=1"},
		{"null skipped", `{"a":null,"b":"1"}`, "b=1"},
		{"empty array skipped", `{"a":[],"b":"1"}`, "b=1"},
		{"array of an empty string skipped", `{"a":[""],"b":"1"}`, "b=1"},
		{"array of null skipped", `{"a":[null],"b":"1"}`, "b=1"},
		{"array of an empty array skipped", `{"a":[[]],"b":"1"}`, "b=1"},
		{"array of an array of an empty string skipped", `{"a":[[[""]]],"b":"1"}`, "b=1"},
		{"nothing at all", `{}`, ""},
		{"nothing left", `{"a":"","b":null}`, ""},

		{"the string 0 kept", `{"a":"0"}`, "a=0"},
		{"a space kept", `{"a":" "}`, "a= "},
		{"empty object kept", `{"a":{},"b":"1"}`, "a=&b=1"},
		{"object of nothing kept", `{"a":{"x":null}}`, "a="},
		{"array of zero kept, its element not", `{"a":[0]}`, "a="},
		{"array of false kept, its element not", `{"a":[false]}`, "a="},
		{"array of an object kept", `{"a":[{}]}`, "a=0="},
		{"array of two nothings kept", `{"a":[null,""]}`, "a="},

		{"nested", `{"p":{"b":"2","a":{"d":"4","c":"3"}}}`, "p=a=c=3&d=4&b=2"},
		{"array by index", `{"a":["x","y"]}`, "a=0=x&1=y"},
		{"array with a gap", `{"a":["","y"]}`, "a=1=y"},
		{"indices sort as strings", `{"a":["a","b","c","d","e","f","g","h","i","j","k"]}`,
			"a=0=a&1=b&10=k&2=c&3=d&4=e&5=f&6=g&7=h&8=i&9=j"},
		{"objects in arrays", `{"a":[{"y":"2","x":"1"},["z"]]}`, "a=0=x=1&y=2&1=0=z"},

		{"true", `{"a":true}`, "a=true"},
		{"nothing is escaped", `{"a":"&=% +/é\u0000"}`, "a=&=% +/é\x00"},
		{"escapes are resolved", `{"\u0061":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, "a=\"\\/\b\f\n\r\té\U0001F600"},

		{"integer", `{"a":16}`, "a=16"},
		{"negative", `{"a":-16}`, "a=-16"},
		{"fraction of nothing", `{"a":1.0}`, "a=1"},
		{"exponent of nothing", `{"a":1e2}`, "a=100"},
		{"fraction", `{"a":1.5}`, "a=1.5"},
		{"shortest", `{"a":0.10000000000000001}`, "a=0.1"},
		{"20 digits", `{"a":123456789012345680000}`, "a=123456789012345680000"},
		{"beyond 2^53", `{"a":9007199254740993}`, "a=9007199254740992"},
		{"at 1e21 exponents begin", `{"a":1e21,"b":999999999999999999999}`, "a=1e+21&b=1e+21"},
		{"the last without", `{"a":999999999999999900000}`, "a=999999999999999900000"},
		{"small", `{"a":0.000001}`, "a=0.000001"},
		{"below 1e-6 exponents begin", `{"a":0.0000001,"b":1.25e-9}`, "a=1e-7&b=1.25e-9"},
		{"two digits of exponent", `{"a":1e-10}`, "a=1e-10"},
		{"the greatest", `{"a":1.7976931348623157e308}`, "a=1.7976931348623157e+308"},
		{"overflow", `{"a":1e400,"b":-1e400}`, "a=Infinity&b=-Infinity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.Canonical([]byte(tt.object))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("Canonical(%s) = %q, want %q", tt.object, got, tt.want)
			}
		})
	}
}

func TestStringToSign(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"only the four members", `{"appid":"a","sign":"s","host":"h","action":"x","timestamp":"1"}`, "appid=a&timestamp=1"},
		{"their order is fixed", `{"timestamp":"4","payload":{"x":"3"},"nonce":"2","appid":"1"}`, "appid=1&nonce=2&payload=x=3&timestamp=4"},
		{"a nonce may be a number", `{"appid":"a","nonce":7.0}`, "appid=a&nonce=7"},
		{"an empty nonce is none", `{"appid":"a","nonce":""}`, "appid=a"},
		{"a payload that is an array", `{"appid":"a","payload":["x"]}`, "appid=a&payload=0=x"},
		{"an empty array is no payload", `{"appid":"a","payload":[]}`, "appid=a"},
		{"white space is nothing", " {\n\t\"appid\" : \"a\" }\r\n", "appid=a"},
		{"none of them", `{"x":"y"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.StringToSign([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("StringToSign(%s) = %q, want %q", tt.body, got, tt.want)
			}
		})
	}
}
