package state

import (
	"github.com/tidwall/btree"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// maxWrapped bounds a wrapped data key, and what sealing adds to a value.
const maxWrapped = 256

// maxOrdinal bounds numbers of versions: they are compared as ints.
const maxOrdinal = 1 << 30

func secretFrom(p *command.Secret) (*Secret, error) {
	s := &Secret{Name: kms.SecretName(p.GetName()), Description: p.GetDescription(), Created: p.GetCreated(), Changed: p.GetChanged(),
		Rotation: kms.RotationInterval(p.GetRotation()), Rotated: p.GetRotated(), Told: p.GetTold(), Due: p.GetDue(),
		Current: kms.SecretVersion(p.GetCurrent()), Previous: kms.SecretVersion(p.GetPrevious()), Last: kms.SecretVersion(p.GetLast()),
		Revision: p.GetRevision()}
	if !fill(s.ID[:], p.GetId()) || !fill(s.App[:], p.GetApp()) || len(p.GetKey()) > 0 && !fill(s.Key[:], p.GetKey()) {
		return nil, malformed("secret record")
	}
	if !s.Name.Valid() || kms.CheckSecretDescription(s.Description) != nil || s.Rotation.Check() != nil ||
		s.Due < 0 || s.Last > maxOrdinal || len(p.GetLabels()) > kms.MaxSecretLabels {
		return nil, malformed("secret record")
	}
	for i, l := range p.GetLabels() {
		if !kms.OwnSecretLabel(l.GetName()) || i > 0 && p.GetLabels()[i-1].GetName() >= l.GetName() {
			return nil, malformed("secret record")
		}
		s.Labels = append(s.Labels, kms.SecretLabel{Name: l.GetName(), Version: kms.SecretVersion(l.GetVersion())})
	}
	return s, nil
}

func secretVersionFrom(p *command.SecretVersion) (*SecretVersion, error) {
	v := &SecretVersion{Number: kms.SecretVersion(p.GetNumber()), Created: p.GetCreated(), Under: p.GetUnder(),
		Wrapped: exact(p.GetWrapped()), Sealed: exact(p.GetSealed())}
	if v.Number == 0 || v.Number > maxOrdinal || len(v.Wrapped) == 0 || len(v.Wrapped) > maxWrapped ||
		len(v.Sealed) == 0 || len(v.Sealed) > kms.MaxSecretValue+maxWrapped {
		return nil, malformed("secret version")
	}
	return v, nil
}

// Proto is the record as commands and snapshots carry it, without its versions.
func (s *Secret) Proto() *command.Secret {
	p := &command.Secret{Id: s.ID[:], App: s.App[:], Name: string(s.Name), Description: s.Description, Created: s.Created, Changed: s.Changed,
		Rotation: string(s.Rotation), Rotated: s.Rotated, Told: s.Told, Due: s.Due, Current: uint32(s.Current), Previous: uint32(s.Previous),
		Last: uint32(s.Last), Revision: s.Revision, Versions: uint32(len(s.Versions))}
	if s.Key != (kms.KeyID{}) {
		p.Key = s.Key[:]
	}
	for _, l := range s.Labels {
		p.Labels = append(p.Labels, &command.SecretLabel{Name: l.Name, Version: uint32(l.Version)})
	}
	return p
}

// Proto is the version as commands and snapshots carry it. It shares its bytes.
func (v *SecretVersion) Proto() *command.SecretVersion {
	return &command.SecretVersion{Number: uint32(v.Number), Created: v.Created, Under: v.Under, Wrapped: v.Wrapped, Sealed: v.Sealed}
}

// writeSecrets writes each secret and then its versions, one a record: all of
// them together may be too much for one.
func (v *View) writeSecrets(out *recordWriter) {
	v.secrets.Scan(func(_ string, s *Secret) bool {
		ok := out.put(&command.Record{Kind: &command.Record_Secret{Secret: s.Proto()}})
		for _, n := range s.Versions {
			ok = ok && out.put(&command.Record{Kind: &command.Record_SecretVersion{SecretVersion: n.Proto()}})
		}
		return ok
	})
}

// A secretLoad is the secret that is being read from a snapshot.
type secretLoad struct {
	secret *Secret // nil: none
	left   int     // versions that are still to come
}

func (m *Machine) loadSecret(p *command.Secret) error {
	s, err := secretFrom(p)
	if err != nil {
		return err
	}
	if m.loading.secret != nil || p.GetVersions() == 0 || p.GetVersions() > kms.MaxSecretVersions {
		return malformed("snapshot: secret")
	}
	if _, twice := m.next.Secret(s.App, s.Name); twice {
		return malformed("snapshot: secret")
	}
	if k, ok := m.next.Key(s.Key); s.Key != (kms.KeyID{}) && (!ok || k.App != s.App) {
		return malformed("snapshot: secret of no key")
	}
	m.loading = secretLoad{s, int(p.GetVersions())}
	return nil
}

func (m *Machine) loadSecretVersion(p *command.SecretVersion) error {
	s := m.loading.secret
	v, err := secretVersionFrom(p)
	if err != nil {
		return err
	}
	if s == nil || len(s.Versions) > 0 && s.Versions[len(s.Versions)-1].Number >= v.Number || v.Number > s.Last {
		return malformed("snapshot: secret version")
	}
	s.Versions = append(s.Versions, v)
	if m.loading.left--; m.loading.left > 0 {
		return nil
	}
	m.loading = secretLoad{}
	for _, l := range s.AllLabels() {
		if _, there := s.Version(l.Version); !there || l.Version == 0 {
			return malformed("snapshot: label of a secret")
		}
	}
	m.setSecret(s)
	return nil
}

// ceiling is the first entry at or behind a key.
func ceiling(tree *btree.Map[string, string], from string) (key, value string, ok bool) {
	tree.Ascend(from, func(k, v string) bool {
		key, value, ok = k, v, true
		return false
	})
	return key, value, ok
}
