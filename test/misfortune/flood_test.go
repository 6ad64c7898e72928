package misfortune_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
)

// Requests that strangers may make for nothing, as JSON.
var strangers = map[string]string{
	"/holdfast.v1.AttestationService/GetEvidence":  `{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`,
	"/holdfast.v1.AttestationService/GetChallenge": `{}`,
	"/holdfast.v1.SessionService/OpenSession":      `{"challenge":"AAAA","evidence":{"tee":"sgx","quote":"AAAA"}}`,
}

// TestFloodOfStrangers: while strangers ask as fast as they can, a tenant uses
// his key; when they are gone, so is what they took.
func TestFloodOfStrangers(t *testing.T) {
	const crowd, lasts = 50, 2 * time.Second
	s := newSite(t)
	app, end := s.node.Enrol(), s.node.Serve(listen.Config{}, nil)
	key, err := app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	encrypt := func() error {
		_, err := app.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: kms.KeyRef{ID: key.ID}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
		return err
	}
	if err := encrypt(); err != nil {
		t.Fatal(err)
	}
	goroutines, before := runtime.NumGoroutine(), heap()
	for path, body := range strangers {
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		var asked, failed atomic.Int64
		var all sync.WaitGroup
		transport := &http.Transport{TLSClientConfig: end.TLS(), MaxConnsPerHost: crowd, MaxIdleConnsPerHost: crowd}
		for range crowd {
			all.Go(func() {
				for ctx.Err() == nil {
					if err := ask(ctx, transport, end.URL+path, body); err != nil {
						failed.Add(1)
					}
					asked.Add(1)
				}
			})
		}
		encrypted, most, peak := 0, 0, uint64(0)
		for ctx.Err() == nil {
			if err := encrypt(); err != nil {
				t.Errorf("during %s: %v", path, err)
				break
			}
			encrypted++
			time.Sleep(time.Millisecond) // each request that is accepted is remembered
			if most = max(most, runtime.NumGoroutine()); encrypted%20 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
		all.Wait()
		cancel()
		transport.CloseIdleConnections()
		t.Logf("%s: %d asked, %d without an answer; %d encrypted beside them; at most %d goroutines, %d MB of heap",
			path, asked.Load(), failed.Load(), encrypted, most, peak>>20)
		if encrypted == 0 {
			t.Errorf("during %s nothing was encrypted", path)
		}
	}
	until(t, "their goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines+20 })
	if grown := int64(heap()) - int64(before) - 2*int64(len(s.domain.Log.String())); grown > 8<<20 {
		t.Errorf("%d kB of heap are left", grown>>10)
	}
}

func ask(ctx context.Context, c http.RoundTripper, url, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buf := make([]byte, 4096)
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	if resp.StatusCode >= 500 {
		return errors.New(resp.Status)
	}
	return nil
}
