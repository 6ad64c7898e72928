package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/holdfast-kms/holdfast/kms"
)

// A StatusPage answers with the node's status as JSON. It is open to anyone:
// Status must return nothing that only some may know.
type StatusPage struct {
	Status func(ctx context.Context) kms.Status
}

func (p StatusPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(p.Status(r.Context()))
	if err != nil {
		SendPage(w, http.StatusInternalServerError)
		return
	}
	Send(w, http.StatusOK, "application/json; charset=utf-8", append(body, '\n'))
}
