package kms_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
)

func TestQuotePolicyID(t *testing.T) {
	const text = "01020304-0506-4708-890a-0b0c0d0e0f10"
	id, err := kms.ParseQuotePolicyID(text)
	if err != nil || id.String() != text {
		t.Errorf("%v, %v", id, err)
	}
	if b, err := id.MarshalText(); string(b) != text || err != nil {
		t.Errorf("%s, %v", b, err)
	}
	for _, bad := range []string{"", text[1:], "01020304-0506-4708-890A-0b0c0d0e0f10"} {
		if _, err := kms.ParseQuotePolicyID(bad); kms.KindOf(err) != kms.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestIsQuoteReply(t *testing.T) {
	for text, want := range map[string]bool{
		"mr_enclave=aa&result=true": true, "mrtd=aa": true, "measurement=aa": true,
		"": false, "appid=x&mr_enclave=aa": false, "mr_enclave": false, "&mr_enclave=": false, "mr_signer=aa": false, "nonce=AAAA": false,
	} {
		if kms.IsQuoteReply([]byte(text)) != want {
			t.Errorf("%q: not %v", text, want)
		}
	}
	for s := kms.Scheme(1); s.Valid(); s++ {
		if kms.IsQuoteReply([]byte(s.KeyLabel())) {
			t.Errorf("the label of %v is a reply", s)
		}
	}
}
