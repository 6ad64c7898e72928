package client

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands wherever an API key would have been printed.
const redacted = "APIKey(not shown)"

// An APIKey is the secret that an app signs its requests with: 32 ASCII
// characters, as Enroll hands it out. Its only field is a function, so that
// printing a struct that holds one shows nothing of it. The zero APIKey is none.
type APIKey struct {
	reveal func() string
}

// NewAPIKey holds the key s.
func NewAPIKey(s string) APIKey {
	if s == "" {
		return APIKey{}
	}
	return APIKey{reveal: func() string { return s }}
}

// Reveal returns the key itself, for storing it where secrets belong.
func (k APIKey) Reveal() string {
	if k.reveal == nil {
		return ""
	}
	return k.reveal()
}

// IsZero reports whether there is no key.
func (k APIKey) IsZero() bool { return k.reveal == nil }

// Format prints a fixed text for every verb.
func (k APIKey) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

func (k APIKey) String() string { return redacted }

// LogValue logs a fixed text.
func (k APIKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText always fails: a key that was written by accident is lost to
// everyone who can read the file. Use Reveal.
func (k APIKey) MarshalText() ([]byte, error) {
	return nil, errors.New("an APIKey does not marshal; use Reveal")
}
