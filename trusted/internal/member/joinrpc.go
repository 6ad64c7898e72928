package member

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
)

// Sizes of calls between nodes: evidence with collateral, and the documents of a
// domain with all its amendments.
const (
	maxCall  = 1 << 20
	maxReply = 16 << 20
)

const contentType = "application/protobuf"

// Methods of nodes. Those of strangers are served on the protocol Join, the
// others on Call.
const (
	MethodIntroduce = "/introduce" // strangers
	MethodJoin      = "/join"      // strangers
	MethodSecrets   = "/secrets"
	MethodEpochs    = "/epochs"
	MethodOffer     = "/offer"
	MethodRemove    = "/remove"
	MethodDrain     = "/drain"
)

// Post calls a method. url is http://HOST and the method; what the channel is
// proves who the host is. The error is what the node refused with, or Unavailable.
func Post(ctx context.Context, c *http.Client, url string, ask, answer proto.Message) error {
	body, err := proto.Marshal(ask)
	if err != nil {
		return kms.Errorf(kms.Internal, "encoding a call: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return kms.Errorf(kms.Internal, "making a call: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.Do(req)
	if err != nil {
		if kind := kms.KindOf(err); kind != kms.Internal { // of the handshake, which says more
			return err
		}
		return kms.Errorf(kms.Unavailable, "calling a node: %w", err)
	}
	defer resp.Body.Close()
	return answered(resp, answer)
}

func answered(resp *http.Response, answer proto.Message) error {
	b, err := readAtMost(resp.Body, maxReply)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "reading a node's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return faultOf(b)
	}
	if err := proto.Unmarshal(b, answer); err != nil {
		return kms.Errorf(kms.Unavailable, "a node's answer does not decode")
	}
	return nil
}

var errTooLong = errors.New("too long")

func readAtMost(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = errTooLong
	}
	return b, err
}

// faultOf is the error that a node refused with.
func faultOf(b []byte) error {
	var f wire.Fault
	if proto.Unmarshal(b, &f) != nil || !slices.Contains(kms.Kinds(), kms.Kind(f.GetKind())) {
		return kms.Errorf(kms.Unavailable, "a node refused, and does not say why")
	}
	return kms.Errorf(kms.Kind(f.GetKind()), "%s", said(f.GetMessage())).WithField(said(f.GetField())).WithHint(said(f.GetHint()))
}

// maxSaid bounds what is passed on of the text that another node refuses with.
const maxSaid = 2048

// said is what is passed on of another node's text: it comes into logs, and before
// people's eyes.
func said(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxSaid)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// Message is a wire message of a type.
type Message[T any] interface {
	*T
	proto.Message
}

// Handler serves one method.
func Handler[Q any, PQ Message[Q], A proto.Message](f func(ctx context.Context, ask PQ) (A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := readAtMost(r.Body, maxCall)
		ask := PQ(new(Q))
		if r.Method != http.MethodPost || err != nil || proto.Unmarshal(b, ask) != nil {
			refuse(w, kms.Errorf(kms.Invalid, "not a call of a node"))
			return
		}
		answer, err := f(r.Context(), ask)
		if err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, answer)
	})
}

// refuse tells another node why. What is internal stays here.
func refuse(w http.ResponseWriter, err error) {
	f := &wire.Fault{Kind: uint32(kms.KindOf(err)), Message: "internal error"}
	if e, ok := errors.AsType[*kms.Error](err); ok && e.Kind != kms.Internal {
		f.Message, f.Field, f.Hint = e.Err.Error(), e.Field, e.Hint
	}
	reply(w, http.StatusForbidden, f)
}

func reply(w http.ResponseWriter, status int, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(b) // the other side notices
}
