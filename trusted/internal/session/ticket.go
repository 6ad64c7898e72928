package session

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A ticket is what a session is to a node that did not open it: the claims, and
// what they were judged by, encrypted and authenticated under a key of its own
// that every node of the domain derives. Layout of what is in the text:
//
//	generation (4) ‖ id (16) ‖ the contents, wrapped
const (
	ticketPrefix = "hfs1." // format
	ticketHead   = 4 + 16

	wrapTicket root.Purpose = "holdfast/v1/wrap/session"
)

// MaxTicket is the length of the longest ticket, in characters. One of SGX has
// some 1,400, one of TDX some 3,000.
const MaxTicket = 6 << 10

// contents is what a ticket says. Times are ms since 1970.
type contents struct {
	Client  attest.Hex    `json:"client"` // SHA-256 of the client's key
	Opened  int64         `json:"opened"`
	Expires int64         `json:"expires"`
	Claims  attest.Claims `json:"claims"` // without report data, which has served
	Basis   []mark        `json:"basis"`
}

// errTicket is the one answer to a ticket that is not good here.
var errTicket = kms.Errorf(kms.Unauthenticated, "no valid session")

// sealTicket prints a ticket.
func sealTicket(r *root.Root, c *contents) (string, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return "", kms.Errorf(kms.Internal, "writing a session's ticket: %w", err)
	}
	raw := binary.BigEndian.AppendUint32(make([]byte, 0, ticketHead+root.Overhead+len(plain)), r.Current())
	raw = raw[:ticketHead]
	rand.Read(raw[4:])
	wrapped, err := r.Wrap(ticketSlot(raw), secret.New(plain))
	if err != nil {
		return "", err
	}
	text := ticketPrefix + base64.RawURLEncoding.EncodeToString(append(raw, wrapped...))
	if len(text) > MaxTicket {
		return "", kms.Errorf(kms.TooLarge, "the session's ticket has %d characters", len(text))
	}
	return text, nil
}

// openTicket reads a ticket of this domain. That it is for this client, and
// still good, is not checked yet. The error is Unauthenticated.
func openTicket(r *root.Root, text string) (*contents, error) {
	body, ok := strings.CutPrefix(text, ticketPrefix)
	if !ok || len(text) > MaxTicket {
		return nil, errTicket
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) < ticketHead || strings.ContainsAny(body, "\r\n") {
		return nil, errTicket
	}
	plain, err := r.Unwrap(ticketSlot(raw[:ticketHead]), raw[ticketHead:])
	if err != nil {
		return nil, errTicket
	}
	var c contents
	err = plain.Use(func(b []byte) error { return json.Unmarshal(b, &c) })
	if err != nil || len(c.Client) != len(Client{}) {
		return nil, errTicket
	}
	return &c, nil
}

func ticketSlot(head []byte) root.Slot {
	return root.Slot{Purpose: wrapTicket, Generation: binary.BigEndian.Uint32(head), ID: head[4:ticketHead], Version: 1}
}
