package core_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

type caller = *server.Caller

// harmless are the methods of a Caller that a key's condition does not stand
// before, each with the reason.
var harmless = map[string]string{
	"CreateKey":      "makes another key",
	"MakeKey":        "makes another key",
	"DescribeKey":    "tells the owner what a key is, not what it does",
	"DescribeKeys":   "tells the owner what keys are, not what they do",
	"FindKey":        "tells the owner a name that the owner gave",
	"SetRotation":    "has the key rotated by itself, which RotateKey does too",
	"PutSecret":      "has rules of its own: TestSecretUnderCondition",
	"GetSecret":      "has rules of its own: TestSecretUnderCondition",
	"SetSecretKey":   "has rules of its own: TestSecretUnderCondition",
	"LabelSecret":    "has rules of its own: TestSecretUnderCondition",
	"DeleteSecret":   "has rules of its own: TestSecretUnderCondition",
	"RestoreSecret":  "brings back what the condition was on",
	"UpdateSecret":   "notes something beside the secret",
	"DescribeSecret": "tells the owner what a secret is called, not what it is",
	"ListSecrets":    "tells the owner what secrets are called, not what they are", "ListSecretVersions": "tells the owner which versions there are, not what they are",
	"DestroySecretVersion": "has rules of its own: TestSecretUnderCondition",
	"RotateKey":            "makes material that the condition covers too, and takes none away",
	"CancelDeletion":       "brings back what the condition was on",
	"SetLabels":            "notes something beside the key",
	"CreateAlias":          "gives the key a name", "UpdateAlias": "gives the key a name", "DeleteAlias": "takes a name away",
	"ListAliases":      "tells the owner names that the owner gave",
	"Random":           "is about no key",
	"ListKeys":         "tells what a key is, not what it does",
	"PublicKey":        "tells what everybody may know",
	"SetKeyEnabled":    "gives nobody anything that the condition denies",
	"GetCondition":     "tells the owner what the owner set",
	"SetCondition":     "has rules of its own: TestSetCondition",
	"WatchEvents":      "tells the owner what became of keys, not what they do",
	"ListCredentials":  "is about no key",
	"CreateCredential": "is about no key", "RotateCredential": "is about no key", "RevokeCredential": "is about no key",
	"GenerateQuote": "is about no key", "VerifyQuote": "is about no key", "SignReply": "is about no key",
	"PutQuotePolicy": "is about no key", "QuotePolicy": "is about no key",
	"RuntimeKeys": "is about no app's key", "RuntimeDecrypt": "is about no app's key", "RuntimeMAC": "is about no app's key",
}

// TestEveryOperationAsksTheCondition walks all methods of a Caller: one that is
// neither refused on a key with a condition nor known to be harmless lets a
// caller without evidence around it.
func TestEveryOperationAsksTheCondition(t *testing.T) {
	ctx, node := context.Background(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, w := node.Enrol(), newWorkload(t, node, "program")
	create := func(spec kms.Spec, origin kms.Origin) kms.KeyRef {
		t.Helper()
		cond := condition(kms.Usages(kms.UseEncrypt|kms.UseDecrypt|kms.UseSign|kms.UseVerify|kms.UseMAC|kms.UseAgree|kms.UseWrap|kms.UseUnwrap), w.identity())
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Origin: origin, Exportable: true, Condition: cond})
		if err != nil {
			t.Fatal(err)
		}
		return kms.KeyRef{ID: k.ID}
	}
	aes, ec, mac := create(kms.AES256GCM, kms.Generated), create(kms.ECP256, kms.Generated), create(kms.HMACSHA256, kms.Generated)
	waiting := create(kms.AES256GCM, kms.Imported)
	x25519, mlkem := create(kms.X25519, kms.Generated), create(kms.MLKEM768, kms.Generated)
	arguments := map[string]any{
		"Encrypt":          kms.EncryptRequest{Key: aes, Plaintext: []byte("m"), Layout: kms.LayoutNative},
		"Decrypt":          kms.DecryptRequest{Key: aes, Data: []byte("m"), Layout: kms.LayoutEHSM},
		"GenerateDataKey":  kms.DataKeyRequest{Key: aes, Length: 16, Layout: kms.LayoutNative},
		"Sign":             kms.SignRequest{Key: ec, Input: kms.SigningInput{Message: []byte("m")}},
		"Verify":           kms.VerifyRequest{Key: ec, Input: kms.SigningInput{Message: []byte("m")}, Signature: []byte("s")},
		"MAC":              kms.MACRequest{Key: mac, Message: []byte("m")},
		"VerifyMAC":        kms.VerifyMACRequest{Key: mac, Message: []byte("m"), MAC: []byte("m")},
		"Rewrap":           kms.RewrapRequest{Key: aes, Target: aes, Data: []byte("m"), Layout: kms.LayoutEHSM},
		"ExportKey":        aes,
		"Agree":            kms.AgreeRequest{Key: x25519, Peer: []byte("p")},
		"Encapsulate":      kms.EncapsulateRequest{Key: mlkem},
		"Decapsulate":      kms.DecapsulateRequest{Key: mlkem, Ciphertext: []byte("c")},
		"CreateSecret":     kms.CreateSecretRequest{Name: "s", Value: []byte("v"), Key: aes.ID},
		"DeleteKey":        aes.ID,
		"DeleteAllKeys":    nil,
		"ImportParameters": kms.ImportParametersRequest{Key: waiting.ID, Spec: kms.RSA2048},
		"ImportKey":        kms.ImportRequest{Key: waiting.ID},
		"Reencrypt": kms.ReencryptRequest{Source: kms.DecryptRequest{Key: aes, Data: []byte("m"), Layout: kms.LayoutEHSM},
			Target: kms.EncryptRequest{Key: aes, Layout: kms.LayoutNative}},
		"ScheduleDeletion": kms.ScheduleDeletionRequest{Key: aes.ID},
		"SetVersionState":  kms.SetVersionStateRequest{Key: kms.KeyRef{ID: aes.ID, Version: 1}, State: kms.VersionDestroyed},
	}
	methods := reflect.TypeFor[caller]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		argument, dangerous := arguments[name]
		reason, safe := harmless[name]
		switch {
		case dangerous == safe:
			t.Errorf("%s: say in this test how it is called on a key with a condition, or why it need not be refused (%q)", name, reason)
		case dangerous:
			in := []reflect.Value{reflect.ValueOf(ctx)}
			if argument != nil {
				in = append(in, reflect.ValueOf(argument))
			}
			for who, c := range map[string]caller{"the owner": app.MustCaller()} {
				out := reflect.ValueOf(c).MethodByName(name).Call(in)
				err, _ := out[len(out)-1].Interface().(error)
				wantKind(t, name+" by "+who, err, kms.Denied)
				if err != nil && !strings.Contains(err.Error(), "use condition") {
					t.Errorf("%s by %s: refused for another reason: %v", name, who, err)
				}
			}
		}
	}
	for _, ref := range []kms.KeyRef{aes, ec, mac, waiting} {
		if _, err := app.MustCaller().GetCondition(ctx, ref.ID); err != nil {
			t.Errorf("a key is gone: %v", err)
		}
	}
}
