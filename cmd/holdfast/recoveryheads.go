package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// heads is a folder that remembers the highest head that this user's commands saw
// of each domain: a file for each, with the head as a recovery has it.
type heads struct{ dir string }

// headsOf is the folder beside the credentials file that is used where none is named.
func headsOf(s *session) (heads, error) {
	path, err := defaultCredentials(s)
	if err != nil {
		return heads{}, because(err, "set HOME", "nothing can be remembered of what was signed")
	}
	return heads{filepath.Join(filepath.Dir(path), "heads")}, nil
}

func (h heads) file(domain kms.DomainID) string { return filepath.Join(h.dir, domain.String()+".json") }

// highest is the zero head where none was seen.
func (h heads) highest(domain kms.DomainID) (head govern.Head, err error) {
	b, err := os.ReadFile(h.file(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return head, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &head)
	}
	if err != nil {
		return head, kms.Errorf(kms.Damaged, "the highest head that was seen: %w", err).WithFile(h.file(domain)).
			WithHint("nothing but this program writes there: find out what happened to the file")
	}
	return head, nil
}

// remember notes a head, unless a higher one is known. Each member only grows, so
// that a head is behind if it is in any respect.
func (h heads) remember(domain kms.DomainID, head govern.Head) error {
	old, err := h.highest(domain)
	if err != nil {
		return err
	}
	if head.Index < old.Index || head == old {
		head.Index, head.Digest = old.Index, old.Digest
	}
	head.Term, head.PolicySerial = max(head.Term, old.Term), max(head.PolicySerial, old.PolicySerial)
	b, err := json.Marshal(head)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	temp := h.file(domain) + ".new"
	if err := os.WriteFile(temp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, h.file(domain))
}

// saw remembers how far a domain had come, as its node says. A head of the time
// before there was a policy is none.
func (s *session) saw(st kms.Status) {
	head := govern.Head{Term: st.Head.Term, Index: st.Head.Index, PolicySerial: st.Head.PolicySerial}
	if st.Head.Index == 0 || head.Digest.UnmarshalText([]byte(st.Head.Digest)) != nil {
		return
	}
	h, err := headsOf(s)
	if err == nil {
		err = h.remember(st.DomainID, head)
	}
	if err != nil {
		s.note("the domain's head is not remembered: %v", err)
	}
}

// seenSerial is the highest serial of a policy that this user's commands saw in
// force in a domain: with its head, or when a node proved itself.
func seenSerial(s *session, charter govern.Digest, domain kms.DomainID) (uint64, error) {
	seen, err := headsOf(s)
	if err != nil {
		return 0, err
	}
	head, err := seen.highest(domain)
	if err != nil {
		return 0, err
	}
	highest := head.PolicySerial
	if memory := seenBeside(s, ""); memory != nil {
		marks, err := memory.Recall(charter)
		if err != nil {
			return 0, err
		}
		for _, m := range marks {
			if m.Domain == domain {
				highest = max(highest, m.Serial)
			}
		}
	}
	return highest, nil
}

// headText shows how far a node's log has come.
func headText(h kms.Head) string {
	return fmt.Sprintf("entry %d of term %d, under policy %d, state %.16s", h.Index, h.Term, h.PolicySerial, oneLine(h.Digest))
}

// recoveryText says what would bring a domain back that has lost every node.
func recoveryText(st kms.Status) string {
	last := "no backup yet"
	if !st.LastBackup.IsZero() {
		last = "last backup " + timeText(st.LastBackup)
	}
	if !st.Recoverable {
		return "IMPOSSIBLE when every node is lost; " + last
	}
	return fmt.Sprintf("by %d of %d shares; %s", st.RecoveryThreshold, st.RecoveryShares, last)
}
