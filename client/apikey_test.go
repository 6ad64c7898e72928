package client_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
)

func TestAPIKeyDoesNotPrint(t *testing.T) {
	const planted = "0123456789ABCDEFGHJKLMNPQRSTUVWX"
	key := client.NewAPIKey(planted)
	type hidden struct{ k client.APIKey } // fmt calls no methods on unexported fields
	c, err := client.New(client.Config{URL: "https://localhost", AppID: [16]byte{1}, APIKey: key})
	ok(t, err)
	values := map[string]any{
		"value": key, "pointer": &key, "slice": []client.APIKey{key}, "map": map[string]client.APIKey{"k": key},
		"config": client.Config{APIKey: key}, "credential": &client.Credential{APIKey: key}, "hidden": hidden{key}, "client": c,
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
			j, _ := json.Marshal(v)
			out.Write(j)
			gob.NewEncoder(&out).Encode(v)
			for _, secret := range []string{planted, fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted), fmt.Sprint([]byte(planted))} {
				if strings.Contains(out.String(), secret) {
					t.Errorf("printed as %s", secret)
				}
			}
		})
	}
	if key.Reveal() != planted || key.IsZero() || !(client.APIKey{}).IsZero() || client.NewAPIKey("").Reveal() != "" {
		t.Error("Reveal or IsZero is wrong")
	}
	if _, err := json.Marshal(key); err == nil {
		t.Error("an APIKey marshals")
	}
}
