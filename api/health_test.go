package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestHealthPages(t *testing.T) {
	for name, tc := range map[string]struct {
		page http.Handler
		code int
		body string
	}{
		"alive":     {api.AlivePage, 200, "{\"alive\":true}\n"},
		"ready":     {api.ReadyPage{Ready: func() kms.Readiness { return kms.Readiness{Ready: true} }}, 200, "{\"ready\":true}\n"},
		"not ready": {api.ReadyPage{Ready: func() kms.Readiness { return kms.Readiness{Reasons: []string{"why"}} }}, 503, "{\"ready\":false,\"reasons\":[\"why\"]}\n"},
	} {
		w := httptest.NewRecorder()
		tc.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != tc.code || w.Body.String() != tc.body || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
