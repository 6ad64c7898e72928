package client

import (
	"context"
	"encoding/json"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Credential is what an app proves itself with.
type Credential struct {
	AppID  kms.AppID
	APIKey APIKey
}

// Enroll makes a new app and returns its credential, which is shown this once.
// It needs no credential, and leaves the client's own as it is. It is sent
// once: after an error of kind Unavailable an app may have been made that
// nobody has the key of.
func (c *Client) Enroll(ctx context.Context) (Credential, error) {
	r, err := call[struct {
		AppID  string `json:"appid"`
		APIKey string `json:"apikey"`
	}](ctx, c, actEnroll, nil)
	if err != nil {
		return Credential{}, err
	}
	id, err := kms.ParseAppID(r.AppID)
	if err != nil || r.APIKey == "" {
		return Credential{}, garbled(actEnroll, 0, err)
	}
	return Credential{AppID: id, APIKey: NewAPIKey(r.APIKey)}, nil
}

// ServerVersion is what a node says of its build.
type ServerVersion struct {
	Version string `json:"version"`
	GitSHA  string `json:"git_sha"`
}

// Version asks for the node's build. It needs no credential.
func (c *Client) Version(ctx context.Context) (ServerVersion, error) {
	v, err := call[ServerVersion](ctx, c, actVersion, nil)
	v.Version, v.GitSHA = printable(v.Version), printable(v.GitSHA)
	return v, err
}

// Status asks what the node says of itself and its domain. It needs no
// credential. A node that is not ready answers too: look at Ready and Reason.
func (c *Client) Status(ctx context.Context) (kms.Status, error) {
	// The ids arrive as hexadecimal text; these two hide the arrays of the same name.
	var doc struct {
		kms.Status
		DomainID string `json:"domain_id"`
		Node     string `json:"node_id"`
	}
	err := c.roundTrip(ctx, actStatus, nil, func(r reply) error {
		if err := json.Unmarshal(r.body, &doc); err != nil {
			return notEnvelope(actStatus, r, err)
		}
		if !unhex(doc.Status.DomainID[:], doc.DomainID) || !unhex(doc.Status.Node[:], doc.Node) {
			return notEnvelope(actStatus, r, nil)
		}
		return nil
	})
	return doc.Status, err
}
