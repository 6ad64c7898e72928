// Package state is the replicated state machine: commands in, a new state out,
// the same on every node. Apply generates nothing, decrypts nothing, reads no
// clock and calls nothing; it checks what it is given against the state and
// takes it over or refuses it.
//
// Readers see a View, an immutable picture that is swapped by pointer after
// each batch of commands.
package state

import (
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A Key is a key record. Records are immutable: a change makes a new one.
type Key struct {
	ID         kms.KeyID
	App        kms.AppID
	Spec       kms.Spec
	State      kms.KeyState
	Origin     kms.Origin
	Exportable bool
	Usages     kms.Usages
	Current    kms.KeyVersion
	Created    int64 // ns since 1970, as all times here
	Expires    int64 // 0: never
	Revision   uint64
	Versions   []Version
	Condition  []byte // canonical JSON of govern.Condition: who may use the key; nil: its app

	Labels   *Labels   // nil: none
	Deletion *Deletion // nil: none is scheduled; else State is PendingDeletion
	Rotation *Rotation // nil: it is not rotated by itself
	LastUsed int64     // when the epoch began in which it was used last; 0: never
}

// A Version is the wrapped material of one version of a key.
type Version struct {
	Number     kms.KeyVersion
	Generation uint32
	Once       uint32 // 1 + the oldest generation it was wrapped under, if another; the state's own
	Created    int64
	Wrapped    []byte
	State      kms.VersionState
	Reserved   uint64 // invocations that nodes have set aside; see Capability.MaxInvocations
}

// Version finds a version; zero asks for the current one.
func (k *Key) Version(n kms.KeyVersion) (*Version, bool) {
	if n == 0 {
		n = k.Current
	}
	for i := range k.Versions {
		if k.Versions[i].Number == n {
			return &k.Versions[i], true
		}
	}
	return nil, false
}

// Info is what may be told of the key.
func (k *Key) Info() kms.Key {
	info := kms.Key{
		ID: k.ID, App: k.App, Spec: k.Spec, Usages: k.Usages, State: k.State, Origin: k.Origin,
		Exportable: k.Exportable, Created: time.Unix(0, k.Created).UTC(), Current: k.Current, Revision: k.Revision,
	}
	if k.Expires != 0 {
		info.Expires = time.Unix(0, k.Expires).UTC()
	}
	for _, v := range k.Versions {
		info.Versions = append(info.Versions, v.Number)
	}
	return info
}

// A Credential is a credential record. Immutable too.
type Credential struct {
	ID          kms.CredentialID
	App         kms.AppID
	Name        string // for people
	Permissions kms.Permissions
	Generation  uint32
	Once        uint32 // 1 + the oldest generation it was wrapped under, if another; the state's own
	Created     int64
	Expires     int64 // 0: never
	Revision    uint64
	Wrapped     []byte
}

// An App is a tenant.
type App struct {
	ID          kms.AppID
	Created     int64
	Credentials []kms.CredentialID // in order
}

// Founding is what the first command of the log fixed for good.
type Founding struct {
	Domain    kms.DomainID
	Charter   []byte
	Bootstrap []byte // envelope
	Policy    []byte // policy 1, envelope
	Checksum  []byte // of master secret 0
	// SigningKey is the runtime signing key of generation 0, Ed25519.
	SigningKey []byte
	Simulated  bool // the founder's evidence was
	Evidence   Evidence
	Authority  Authority

	founder kms.NodeID // as the bootstrap names it; known once it was verified
}

// Evidence is what a TEE showed, with the collateral it was judged by.
type Evidence struct {
	TEE        string
	Quote      []byte
	Collateral []byte
}

// Authority is the domain's certificate authority.
type Authority struct {
	Certificate []byte // X.509, DER
	Generation  uint32
	Once        uint32 // 1 + the oldest generation it was wrapped under, if another; the state's own
	WrappedKey  []byte // PKCS #8, wrapped
}

func keyFrom(p *command.Key) (*Key, error) {
	k := &Key{
		Spec: kms.Spec(p.GetSpec()), State: kms.KeyState(p.GetState()), Origin: kms.Origin(p.GetOrigin()),
		Exportable: p.GetExportable(), Usages: kms.Usages(p.GetUsages()), Current: kms.KeyVersion(p.GetCurrent()),
		Created: p.GetCreated(), Expires: p.GetExpires(), Revision: p.GetRevision(), Condition: conditionBytes(p.GetCondition()),
	}
	if !fill(k.ID[:], p.GetId()) || !fill(k.App[:], p.GetApp()) {
		return nil, malformed("key record")
	}
	if _, known := k.Spec.Capability(); !known || !k.State.Valid() || !k.Origin.Valid() || !k.Usages.Valid() {
		return nil, malformed("key record")
	}
	k.Versions = make([]Version, len(p.GetVersions()))
	for i, v := range p.GetVersions() {
		k.Versions[i] = versionFrom(v)
	}
	if err := k.addLife(p); err != nil {
		return nil, err
	}
	return k, nil
}

func versionFrom(v *command.KeyVersion) Version {
	return Version{Number: kms.KeyVersion(v.GetNumber()), Generation: v.GetGeneration(), Once: v.GetOnce(),
		Created: v.GetCreated(), Wrapped: exact(v.GetWrapped()), State: versionState(v.GetState()), Reserved: v.GetReserved()}
}

// Proto is the record as commands and snapshots carry it. It shares the record's bytes.
func (k *Key) Proto() *command.Key {
	p := &command.Key{
		Id: k.ID[:], App: k.App[:], Spec: uint32(k.Spec), Usages: uint32(k.Usages), State: uint32(k.State),
		Origin: uint32(k.Origin), Exportable: k.Exportable, Created: k.Created, Expires: k.Expires,
		Current: uint32(k.Current), Revision: k.Revision, Condition: k.Condition,
	}
	for _, v := range k.Versions {
		p.Versions = append(p.Versions, &command.KeyVersion{Number: uint32(v.Number), Generation: v.Generation, Once: v.Once,
			Created: v.Created, Wrapped: v.Wrapped, State: versionStateProto(v.State), Reserved: v.Reserved})
	}
	k.putLife(p)
	return p
}

func credentialFrom(p *command.Credential) (*Credential, error) {
	c := &Credential{
		Name: p.GetName(), Permissions: kms.Permissions(p.GetPermissions()), Generation: p.GetGeneration(), Once: p.GetOnce(),
		Created: p.GetCreated(), Expires: p.GetExpires(), Revision: p.GetRevision(), Wrapped: exact(p.GetWrapped()),
	}
	if !fill(c.ID[:], p.GetId()) || !fill(c.App[:], p.GetApp()) {
		return nil, malformed("credential record")
	}
	if p.GetPermissions() > 0xff || !c.Permissions.Valid() || !kms.ValidCredentialName(c.Name) || c.Expires < 0 {
		return nil, malformed("credential record")
	}
	return c, nil
}

// Proto is the record as commands and snapshots carry it. It shares the record's bytes.
func (c *Credential) Proto() *command.Credential {
	return &command.Credential{Id: c.ID[:], App: c.App[:], Name: c.Name, Permissions: uint32(c.Permissions), Generation: c.Generation, Once: c.Once,
		Created: c.Created, Expires: c.Expires, Revision: c.Revision, Wrapped: c.Wrapped}
}

func appFrom(p *command.App) (*App, error) {
	a := &App{Created: p.GetCreated()}
	if !fill(a.ID[:], p.GetId()) {
		return nil, malformed("app record")
	}
	return a, nil
}

func foundingFrom(p *command.Found) (*Founding, error) {
	f := &Founding{Charter: exact(p.GetCharter()), Bootstrap: exact(p.GetBootstrap()), Checksum: exact(p.GetChecksum()),
		Policy: exact(p.GetPolicy()), Evidence: Evidence{TEE: p.GetEvidence().GetTee(), Quote: exact(p.GetEvidence().GetQuote()),
			Collateral: exact(p.GetEvidence().GetCollateral())},
		Simulated: p.GetSimulated(), SigningKey: exact(p.GetSigningKey()), Authority: authorityFrom(p.GetAuthority())}
	if !fill(f.Domain[:], p.GetDomain()) {
		return nil, malformed("founding record")
	}
	return f, nil
}

func (f *Founding) proto(feature uint32) *command.Found {
	return &command.Found{Domain: f.Domain[:], Charter: f.Charter, Bootstrap: f.Bootstrap, Checksum: f.Checksum,
		Policy: f.Policy, Evidence: &command.Evidence{Tee: f.Evidence.TEE, Quote: f.Evidence.Quote, Collateral: f.Evidence.Collateral},
		Simulated: f.Simulated, SigningKey: f.SigningKey, FeatureLevel: feature, Authority: &command.Authority{
			Certificate: f.Authority.Certificate, Generation: f.Authority.Generation, WrappedKey: f.Authority.WrappedKey}}
}

// fill copies src over dst where the lengths agree.
func fill(dst, src []byte) bool { return len(dst) == len(src) && copy(dst, src) == len(dst) }

// exact copies b into an allocation of just its size: records live long, and
// the buffer that b is part of would live as long.
func exact(b []byte) []byte {
	out := make([]byte, len(b))
	copy(out, b)
	return out
}

func malformed(what string) error { return kms.Errorf(kms.Damaged, "%s is malformed", what) }
