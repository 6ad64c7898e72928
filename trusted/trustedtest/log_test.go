package trustedtest_test

import (
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestLeaked: what must not be logged is found however it is written, and
// nothing else is.
func TestLeaked(t *testing.T) {
	const secret = `a "secret" <of> some & bytes` + "\x00\xff\n"
	for name, value := range map[string]any{
		"text":                secret,
		"bytes":               []byte(secret),
		"hexadecimal":         hex.EncodeToString([]byte(secret)),
		"base64":              base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 for URLs":     base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"inside a text":       "before " + secret + " after",
		"inside a struct":     struct{ Body string }{secret},
		"bytes in a struct":   struct{ Body []byte }{[]byte(secret)},
		"an error's text":     errorString(secret),
		"a group's attribute": slog.GroupValue(slog.String("body", secret)),
	} {
		var l trustedtest.Log
		l.Plant([]byte(secret))
		logger := slog.New(slog.NewTextHandler(&l, nil))
		logger.Info("harmless", "body", "nothing")
		if leaked := l.Leaked(); len(leaked) > 0 {
			t.Errorf("%s: found in a harmless log: %q", name, leaked)
		}
		logger.Info("careless", "body", value)
		if len(l.Leaked()) == 0 {
			t.Errorf("%s: not found in %s", name, l.String())
		}
	}
}

type errorString string

func (e errorString) Error() string { return string(e) }
