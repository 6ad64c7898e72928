package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/kms"
)

// say makes the server answer with one status and body.
func say(status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		w.Write([]byte(body))
		return true
	}
}

func envelope(code int, message string) string {
	return fmt.Sprintf(`{"code":%d,"message":%q,"result":{}}`, code, message)
}

func TestRefusals(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	cfg.Retries = -1
	c := newClient(t, cfg)
	tests := []struct {
		name   string
		status int
		body   string
		want   kms.Kind
		code   int
	}{
		{"unknown key", 200, envelope(400, "keyid error"), kms.NotFound, 400},
		{"unknown key of enable", 200, envelope(400, "not find this keyid"), kms.NotFound, 400},
		{"foreign", 200, envelope(400, "appid error"), kms.Foreign, 400},
		{"disabled", 200, envelope(400, "keyid is disabled"), kms.Disabled, 400},
		{"expired", 200, envelope(400, "keyid expire"), kms.Expired, 400},
		{"signature", 200, envelope(400, "sign error"), kms.Unauthenticated, 400},
		{"clock", 200, envelope(400, "Timestamp error"), kms.Stale, 400},
		{"replay", 200, envelope(400, "Timestamp can't be repeated in 20 minutes"), kms.Replayed, 400},
		{"import", 200, envelope(500, "Import key failed."), kms.Invalid, 500},
		{"second import", 200, envelope(500, "ImportKeyMaterial failed."), kms.Misused, 500},
		{"token", 200, envelope(500, "ImportToken failed."), kms.Denied, 500},
		{"old token", 200, envelope(500, `Token validity time is 24 hours. Try to send "GetParametersForImport" request again.`), kms.Expired, 500},
		{"decrypt", 200, envelope(400, "Decryption failed, Please confirm that your parameters are correct."), kms.DecryptFailed, 400},
		{"parameter", 200, envelope(400, "Parameter invalid, The keylen must be of integer type."), kms.Invalid, 400},
		{"action", 200, envelope(404, "API Not Found"), kms.Invalid, 404},
		{"exception", 200, envelope(500, "Server exception."), kms.Misused, 500},
		{"argument", 200, envelope(500, "Argument bad."), kms.TooLarge, 500},
		{"internal", 200, envelope(500, "Server internal error, please contact the administrator."), kms.Internal, 500},
		{"database", 200, envelope(400, "database error"), kms.Internal, 400},
		{"denied", 200, envelope(403, "The credential does not allow this action."), kms.Denied, 403},
		{"exists", 200, envelope(409, "It exists already."), kms.Exists, 409},
		{"conflict", 200, envelope(409, "The state has changed meanwhile, please try again."), kms.Conflict, 409},
		{"not current", 200, envelope(503, "The service cannot confirm that its state is current, please try again later."), kms.Stale, 503},
		{"not ready", 200, envelope(503, "starting"), kms.Unavailable, 503},
		{"too many", 429, envelope(429, "slow down"), kms.Exhausted, 429},
		{"no message", 200, `{"code":400,"result":{}}`, kms.Invalid, 400},
		{"page of a proxy", 502, "<html>", kms.Unavailable, 502},
		{"too big", 413, "<html>", kms.TooLarge, 413},
		{"redirect", 302, "", kms.Internal, 302},
		{"another server", 200, "<html>hello", kms.Internal, 200},
		{"empty object", 200, "{}", kms.Internal, 200},
		{"success without result", 200, `{"code":200,"message":"success"}`, kms.Internal, 200},
		{"result of another type", 200, `{"code":200,"result":{"ciphertext":7}}`, kms.Internal, 200},
		{"success without its field", 200, `{"code":200,"result":{}}`, kms.Internal, 0},
		{"endless", 200, `{"code":200,"message":"` + strings.Repeat("x", 9<<20), kms.Internal, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.Fault(say(tt.status, tt.body))
			_, err := c.Encrypt(t.Context(), kms.KeyID{1}, []byte("plaintext"), nil)
			var e *client.Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is not a *client.Error", err)
			}
			if e.Kind != tt.want || e.Code != tt.code || e.Action != "Encrypt" || e.Message == "" {
				t.Errorf("%+v, want kind %q and code %d", e, tt.want, tt.code)
			}
		})
	}
}

func TestServersWordsCannotSteerATerminal(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	s.Fault(say(200, envelope(400, "\x1b[2Jgone\u009b"+strings.Repeat("y", 1000))))
	_, err := newClient(t, cfg).ListKeys(t.Context())
	if strings.ContainsAny(err.Error(), "\x1b\u009b") || len(err.Error()) > 400 {
		t.Errorf("%q", err)
	}
}

func TestOnlyWhatChangesNothingIsRepeated(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	id := createKey(t, newClient(t, cfg), kms.AES256GCM)
	tests := []struct {
		name    string
		retries int
		call    func(*client.Client) error
		action  string
		want    int
	}{
		{"reads thrice", 0, func(c *client.Client) error { _, err := c.ListKeys(t.Context()); return err }, "ListKey", 3},
		{"version thrice", 0, func(c *client.Client) error { _, err := c.Version(t.Context()); return err }, "GetVersion", 3},
		{"reads once", -1, func(c *client.Client) error { _, err := c.PublicKey(t.Context(), id); return err }, "GetPublicKey", 1},
		{"disable once", 5, func(c *client.Client) error { return c.DisableKey(t.Context(), id) }, "DisableKey", 1},
		{"delete once", 5, func(c *client.Client) error { return c.DeleteKey(t.Context(), id) }, "DeleteKey", 1},
	}
	faults := map[string]func(http.ResponseWriter, *http.Request) bool{
		"503":          say(503, ""),
		"503 in a 200": say(200, envelope(503, "The service is unavailable, please try again later.")),
		"connection lost": func(w http.ResponseWriter, _ *http.Request) bool {
			panic(http.ErrAbortHandler)
		},
	}
	for fault, f := range faults {
		for _, tt := range tests {
			t.Run(fault+"/"+tt.name, func(t *testing.T) {
				s.Fault(f)
				before := s.Calls(tt.action)
				cfg.Retries = tt.retries
				if err := tt.call(newClient(t, cfg)); !errors.Is(err, kms.Unavailable) {
					t.Errorf("%v, want %v", err, kms.Unavailable)
				}
				if n := s.Calls(tt.action) - before; n != tt.want {
					t.Errorf("sent %d times, want %d", n, tt.want)
				}
			})
		}
	}
}

func TestRepeatedReadSucceeds(t *testing.T) {
	s := clienttest.NewServer(t)
	c := newClient(t, s.Enroll())
	id := createKey(t, c, kms.AES256GCM)
	s.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
		s.Fault(nil)
		w.WriteHeader(503)
		return true
	})
	_, err := c.Encrypt(t.Context(), id, []byte("x"), nil)
	ok(t, err)
}

// TestSuccessesThatMakeNoSense has answers with code 200 that are not what was asked for.
func TestSuccessesThatMakeNoSense(t *testing.T) {
	s := clienttest.NewServer(t)
	c := newClient(t, s.Enroll())
	ctx, id := t.Context(), kms.KeyID{1}
	message := kms.SigningInput{Message: []byte("m")}
	rsa := "-----BEGIN RSA PUBLIC KEY-----\\nAAAA\\n-----END RSA PUBLIC KEY-----\\n"
	broken := "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n"
	p256 := spki("1.2.840.10045.3.1.7")
	publicKey := func() error { _, err := c.PublicKey(ctx, id); return err }
	parameters := func() error { _, err := c.ImportParameters(ctx, id, kms.RSA2048); return err }
	tests := []struct {
		name, result string
		call         func() error
	}{
		{"key without id", `{}`, func() error { _, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256}); return err }},
		{"listed key without id", `{"list":[{"keyid":"?"}]}`, func() error { _, err := c.ListKeys(ctx); return err }},
		{"app without id", `{"apikey":"k"}`, func() error { _, err := c.Enroll(ctx); return err }},
		{"app without key", `{"appid":"11111111-2222-4333-8444-555555555555"}`, func() error { _, err := c.Enroll(ctx); return err }},
		{"signature missing", `{}`, func() error { _, err := c.Sign(ctx, id, message); return err }},
		{"verdict missing", `{}`, func() error { _, err := c.Verify(ctx, id, message, []byte("s")); return err }},
		{"verdict of another type", `{"result":1}`, func() error { _, err := c.Verify(ctx, id, message, []byte("s")); return err }},
		{"plaintext missing", `{"ciphertext":"AAAA"}`, func() error { _, err := c.GenerateDataKey(ctx, id, 3, nil); return err }},
		{"data key of another length", `{"plaintext":"AAAA","ciphertext":"AAAA"}`, func() error { _, err := c.GenerateDataKey(ctx, id, 4, nil); return err }},
		{"no PEM", `{"pubkey":"?"}`, publicKey},
		{"another PEM", `{"pubkey":"` + rsa + `"}`, publicKey},
		{"broken PEM", `{"pubkey":"` + broken + `"}`, publicKey},
		{"no PEM to wrap to", `{"pubkey":"?","importToken":"t"}`, parameters},
		{"no token", `{"pubkey":"` + p256 + `"}`, parameters},
		{"nothing imported", `{"result":false}`, func() error {
			return c.ImportKeyMaterial(ctx, kms.ImportRequest{Wrapping: kms.WrapOAEP, Material: []byte("m")})
		}},
		{"MAC missing", `{}`, func() error { _, err := c.MAC(ctx, id, []byte("m")); return err }},
		{"verdict on a MAC missing", `{}`, func() error { _, err := c.VerifyMAC(ctx, id, []byte("m"), []byte("m")); return err }},
		{"ciphertext of RSA missing", `{}`, func() error { _, err := c.AsymmetricEncrypt(ctx, id, []byte("m"), 0); return err }},
		{"plaintext of RSA missing", `{}`, func() error { _, err := c.AsymmetricDecrypt(ctx, id, []byte("m"), 0); return err }},
		{"data key missing", `{}`, func() error { _, err := c.Rewrap(ctx, id, []byte("m"), nil, id); return err }},
		{"material missing", `{"key_material":""}`, func() error { _, err := c.ExportKey(ctx, id); return err }},
		{"status without ids", `{}`, func() error { _, err := c.Status(ctx); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.Fault(say(200, `{"code":200,"message":"success!","result":`+tt.result+`}`))
			var e *client.Error
			if err := tt.call(); !errors.As(err, &e) || e.Kind != kms.Internal || e.Hint == "" {
				t.Errorf("%v, want an internal error with a hint", err)
			}
		})
	}
}
