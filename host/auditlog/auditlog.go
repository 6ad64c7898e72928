// Package auditlog is where a host keeps a node's audit entries: a file that is
// changed for a new one when it is full, standard output, or a web service. It
// knows nothing of what the lines say but whose they are and their numbers; what
// it loses or alters, whoever verifies them finds.
//
// Each type here keeps the contract of the node's sinks: Append returns nil when
// the lines would outlive this process. None waits for the disk itself: what a
// power cut takes of the last moments, the domain's heads give away.
package auditlog

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Sink takes lines.
type Sink interface {
	Append(ctx context.Context, lines []byte) error
}

const usage = "one of file:PATH, stdout, https://HOST/PATH"

// New makes the sink that a setting of the form NAME=PLACE names: file:PATH,
// stdout, or the address of a web service. Files are rotated at DefaultFileSize.
func New(setting string, stdout io.Writer) (name string, s Sink, err error) {
	name, place, ok := strings.Cut(setting, "=")
	if !ok || name == "" {
		return "", nil, kms.Errorf(kms.Invalid, "audit sink %q: not NAME=PLACE", setting).WithHint("PLACE is " + usage)
	}
	switch kind, path, _ := strings.Cut(place, ":"); {
	case place == "stdout":
		s = &Stream{To: stdout}
	case kind == "file" && path != "":
		s, err = OpenFile(FileConfig{Path: path})
	case kind == "https" || kind == "http":
		s, err = NewWebhook(WebhookConfig{URL: place})
	default:
		err = errors.New("no such kind of place")
	}
	if err != nil {
		return "", nil, kms.Errorf(kms.Invalid, "audit sink %q: %w", name, err).WithHint("PLACE is " + usage)
	}
	return name, s, nil
}

// A Stream writes to something that cannot be read back, as standard output.
type Stream struct{ To io.Writer }

// Append writes the lines. A reader who does not read makes it hang.
func (s *Stream) Append(_ context.Context, lines []byte) error {
	_, err := s.To.Write(lines)
	return err
}

// checkURL takes addresses that say where lines go, and nothing secret.
func checkURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("not an address")
	case u.Host == "" || u.User != nil:
		return nil, errors.New("the address has no host, or a password")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("entries leave this machine by https alone")
	}
	return u, nil
}

func loopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }
