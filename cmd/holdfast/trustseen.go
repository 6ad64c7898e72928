package main

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// A seen is a folder that remembers which policies this user's commands saw, so
// that nobody can show them an older one. Each is an empty file
//
//	CHARTER/DOMAIN-SERIAL-POLICY-AMENDMENTS-LASTAMENDMENT
//
// with digests in hexadecimal. Files are only ever added: so two commands at once
// cannot undo what the other remembers, and a crash leaves no half of one.
type seen struct {
	dir string
}

// seenBeside is the folder beside a credentials file, or beside the one that is
// used where none is named. It is nil where there is no such place.
func seenBeside(s *session, credentials string) client.Memory {
	if credentials == "" {
		path, err := defaultCredentials(s)
		if err != nil {
			s.note("nothing is remembered of the domain: %v", err)
			return nil
		}
		credentials = path
	}
	return seen{filepath.Join(filepath.Dir(credentials), "domains")}
}

// Recall implements client.Memory.
func (k seen) Recall(charter govern.Digest) ([]client.Mark, error) {
	folder := filepath.Join(k.dir, charter.String())
	files, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, kms.Errorf(kms.Unavailable, "%w", err).WithHint("make the folder readable, or name credentials in another one")
	}
	var marks []client.Mark
	for _, f := range files {
		m, ok := parseMark(charter, f.Name())
		if !ok {
			return nil, kms.Errorf(kms.Damaged, "not a policy that was seen").WithFile(filepath.Join(folder, f.Name())).
				WithHint("nothing but this program writes there: find out what the file is, and move it away")
		}
		marks = append(marks, m)
	}
	return marks, nil
}

// Remember implements client.Memory.
func (k seen) Remember(m client.Mark) error {
	folder := filepath.Join(k.dir, m.Charter.String())
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		var f *os.File
		f, err = os.OpenFile(filepath.Join(folder, markName(m)), os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
	}
	if err != nil {
		return kms.Errorf(kms.Unavailable, "%w", err).WithHint("make the folder writable, or name credentials in another one")
	}
	return nil
}

func markName(m client.Mark) string {
	return strings.Join([]string{m.Domain.String(), strconv.FormatUint(m.Serial, 10), m.Policy.String(),
		strconv.Itoa(m.Amendments), m.LastAmendment.String()}, "-")
}

// parseMark reads what markName prints, and nothing else.
func parseMark(charter govern.Digest, name string) (client.Mark, bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 5 {
		return client.Mark{}, false
	}
	m := client.Mark{Charter: charter}
	serial, err := strconv.ParseUint(parts[1], 10, 64)
	domain, err2 := hex.DecodeString(parts[0])
	policy, err3 := hex.DecodeString(parts[2])
	last, err4 := hex.DecodeString(parts[4])
	amendments, err5 := strconv.Atoi(parts[3])
	copy(m.Domain[:], domain)
	copy(m.Policy[:], policy)
	copy(m.LastAmendment[:], last)
	m.Serial, m.Amendments = serial, amendments
	return m, errors.Join(err, err2, err3, err4, err5) == nil && markName(m) == name
}
