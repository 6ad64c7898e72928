package client

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// The procedures of runtimes' keys. Nothing is changed by any: keys are derived.
var (
	actRuntimePublic  = action{name: "GetPublicKey", unsigned: true, repeatable: true}
	actRuntimeSigning = action{name: "ListSigningKeys", unsigned: true, repeatable: true}
	actRuntimeKeys    = action{name: "GetKeys", repeatable: true}
	actRuntimeDecrypt = action{name: "Decrypt", repeatable: true}
	actRuntimeMAC     = action{name: "Mac", repeatable: true}
)

// RuntimePublicKey asks for the public half of a runtime's key pair, to seal
// something to it, and verifies it by the signing keys of the domain. It takes no
// credential. What vouches for the signing keys is the connection: with a Trust in
// Config the node's proof, else the CA. Errors: Invalid (also an epoch that has
// not begun), NotFound (runtime, generation, an epoch without a secret), Expired
// (an epoch past its age), Denied for a key that does not verify.
func (c *Client) RuntimePublicKey(ctx context.Context, r kms.RuntimeKeyRequest) (kms.RuntimePublicKey, error) {
	resp, err := callNative(ctx, c, actRuntimePublic, c.runtimeService(actRuntimePublic).GetPublicKey,
		&holdfastv1.GetRuntimePublicKeyRequest{Key: runtimeKeyMessage(r)})
	if err != nil {
		return kms.RuntimePublicKey{}, err
	}
	p, err := runtimePublicKeyOf(resp.GetKey())
	if err != nil {
		return p, garbled(actRuntimePublic, 0, err)
	}
	signing, err := c.RuntimeSigningKeys(ctx)
	if err != nil {
		return p, err
	}
	want := RuntimeStatement{Key: asked(r, p.RuntimeKey), Domain: p.Domain, SigningKeys: signing, At: c.now()}
	if proved, ok := c.provedDomain(); ok {
		want.Domain = proved
	}
	if err := want.Verify(&p); err != nil {
		return kms.RuntimePublicKey{}, &Error{Action: actRuntimePublic.name, Message: "the answer does not verify", Kind: kms.KindOf(err), Hint: kms.HintOf(err), Err: err}
	}
	return p, nil
}

// asked is the key that was asked for, with the period that the node chose where
// the choice was left to it.
func asked(r kms.RuntimeKeyRequest, answered kms.RuntimeKey) kms.RuntimeKey {
	if r.Latest {
		r.Period = answered.Period
	}
	return r.RuntimeKey
}

// provedDomain is the domain that the node has proved to be of, where it had to.
func (c *Client) provedDomain() (kms.DomainID, bool) {
	a, ok := c.http.Transport.(*attested)
	if !ok {
		return kms.DomainID{}, false
	}
	g := a.current.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first == nil {
		return kms.DomainID{}, false
	}
	return g.first.Domain, true
}

// RuntimeSigningKeys are the keys that sign runtimes' public keys, of every
// generation. Keep them to verify such a key that came another way.
func (c *Client) RuntimeSigningKeys(ctx context.Context) ([]kms.RuntimeSigningKey, error) {
	resp, err := callNative(ctx, c, actRuntimeSigning, c.runtimeService(actRuntimeSigning).ListSigningKeys, &holdfastv1.ListRuntimeSigningKeysRequest{})
	if err != nil {
		return nil, err
	}
	var all []kms.RuntimeSigningKey
	for _, m := range resp.GetKeys() {
		k := kms.RuntimeSigningKey{Generation: m.GetGeneration(), Retired: m.GetRetired()}
		if !unhex(k.Checksum[:], m.GetChecksum()) || !exactly(k.Public[:], m.GetPublicKey()) {
			return nil, garbled(actRuntimeSigning, 0, errors.New("a signing key of another form"))
		}
		all = append(all, k)
	}
	return all, nil
}

// RuntimeKeys asks for a key pair of the runtime that the client's Workload is.
// The caller wipes it. Errors: Denied where the policy in force does not list the
// program, those of RuntimePublicKey.
func (c *Client) RuntimeKeys(ctx context.Context, r kms.RuntimeKeyRequest) (k kms.RuntimeKeys, err error) {
	resp, err := callNative(ctx, c, actRuntimeKeys, c.runtimeService(actRuntimeKeys).GetKeys, &holdfastv1.GetRuntimeKeysRequest{Key: runtimeKeyMessage(r)})
	if err != nil {
		return k, err
	}
	k.Private, k.State = resp.GetPrivateKey(), resp.GetStateKey()
	key, err := runtimeKeyOf(resp.GetKey())
	if err == nil && (key != asked(r, key) || !exactly(k.Public[:], resp.GetPublicKey()) || len(k.Private) != 32 || len(k.State) != 32 ||
		!unhex(k.Domain[:], resp.GetDomainId())) {
		err = errors.New("another key, or one of another form")
	}
	if err != nil {
		k.Wipe()
		return kms.RuntimeKeys{}, garbled(actRuntimeKeys, 0, err)
	}
	k.RuntimeKey = key
	if e := resp.GetExpires(); e != nil {
		k.Expires = e.AsTime()
	}
	return k, nil
}

// RuntimeDecrypt opens what was sealed to the runtime that the client's Workload
// is, without the private key leaving the node. Errors: those of RuntimeKeys,
// DecryptFailed.
func (c *Client) RuntimeDecrypt(ctx context.Context, runtime string, sealed []byte) ([]byte, error) {
	if _, _, err := kms.ParseRuntimeSealed(sealed); err != nil {
		return nil, misuse(actRuntimeDecrypt, kms.KindOf(err), "", "%s", err)
	}
	resp, err := callNative(ctx, c, actRuntimeDecrypt, c.runtimeService(actRuntimeDecrypt).Decrypt, &holdfastv1.RuntimeDecryptRequest{Runtime: runtime, Sealed: sealed})
	if err != nil {
		return nil, err
	}
	return resp.GetPlaintext(), nil
}

// RuntimeMAC authenticates a message of 1 to kms.MaxRuntimeMessage bytes under
// the state key of a pair, without the key leaving the node: 32 bytes. Errors:
// those of RuntimeKeys, TooLarge.
func (c *Client) RuntimeMAC(ctx context.Context, r kms.RuntimeKeyRequest, message []byte) (m kms.RuntimeMAC, err error) {
	if n := len(message); n == 0 || n > kms.MaxRuntimeMessage {
		return m, misuse(actRuntimeMAC, kms.TooLarge, "authenticate the digest of the message instead", "a message has 1 to %d bytes, not %d", kms.MaxRuntimeMessage, n)
	}
	resp, err := callNative(ctx, c, actRuntimeMAC, c.runtimeService(actRuntimeMAC).Mac,
		&holdfastv1.RuntimeMacRequest{Key: runtimeKeyMessage(r), Message: message})
	if err != nil {
		return m, err
	}
	m.MAC = resp.GetMac()
	if m.RuntimeKey, err = runtimeKeyOf(resp.GetKey()); err == nil && (m.RuntimeKey != asked(r, m.RuntimeKey) || len(m.MAC) != 32) {
		err = errors.New("another key, or a MAC of another length")
	}
	if err != nil {
		return kms.RuntimeMAC{}, garbled(actRuntimeMAC, 0, err)
	}
	return m, nil
}

func (c *Client) runtimeService(a action) holdfastv1connect.RuntimeServiceClient {
	return holdfastv1connect.NewRuntimeServiceClient(nativeHTTP{c, a.unsigned}, c.native(), nativeOptions()...)
}

func runtimeKeyMessage(r kms.RuntimeKeyRequest) *holdfastv1.RuntimeKey {
	m := &holdfastv1.RuntimeKey{Runtime: r.Runtime, KeyId: r.ID.String()}
	switch {
	case r.Latest && r.Ephemeral:
		m.Period = &holdfastv1.RuntimeKey_CurrentEpoch{CurrentEpoch: true}
	case r.Latest:
	case r.Ephemeral:
		m.Period = &holdfastv1.RuntimeKey_Epoch{Epoch: r.Period}
	default:
		m.Period = &holdfastv1.RuntimeKey_Generation{Generation: uint32(r.Period)}
	}
	return m
}

// runtimeKeyOf reads which key a node says it is; it must say it wholly.
func runtimeKeyOf(m *holdfastv1.RuntimeKey) (k kms.RuntimeKey, err error) {
	k.Runtime = m.GetRuntime()
	if k.ID, err = kms.ParseRuntimeKeyID(m.GetKeyId()); err != nil {
		return k, err
	}
	switch p := m.GetPeriod().(type) {
	case *holdfastv1.RuntimeKey_Generation:
		k.Period = uint64(p.Generation)
	case *holdfastv1.RuntimeKey_Epoch:
		k.Ephemeral, k.Period = true, p.Epoch
	default:
		return k, errors.New("a key of no generation or epoch")
	}
	return k, k.Validate()
}

func runtimePublicKeyOf(m *holdfastv1.RuntimePublicKey) (p kms.RuntimePublicKey, err error) {
	if p.RuntimeKey, err = runtimeKeyOf(m.GetKey()); err != nil {
		return p, err
	}
	p.Generation, p.Signature = m.GetGeneration(), m.GetSignature()
	if !unhex(p.Domain[:], m.GetDomainId()) || !unhex(p.Checksum[:], m.GetChecksum()) || !exactly(p.Public[:], m.GetPublicKey()) {
		return p, errors.New("a public key of another form")
	}
	if e := m.GetExpires(); e != nil {
		if !e.IsValid() || e.AsTime().IsZero() {
			return p, errors.New("a time that is none")
		}
		p.Expires = e.AsTime().Truncate(time.Second)
	}
	return p, nil
}

// exactly fills dst, if b is as long.
func exactly(dst, b []byte) bool { return copy(dst, b) == len(dst) && len(b) == len(dst) }

// RuntimeKeyID reads a key id: 64 hexadecimal digits; or for a person, any other
// text of 1 to 31 bytes, which is filled up with zeros.
func RuntimeKeyID(text string) (id kms.RuntimeKeyID, err error) {
	if len(text) == hex.EncodedLen(len(id)) {
		return kms.ParseRuntimeKeyID(text)
	}
	if len(text) == 0 || len(text) >= len(id) {
		return id, kms.Errorf(kms.Invalid, "a runtime's key id has 64 hexadecimal digits, or is a text of 1 to %d bytes", len(id)-1)
	}
	copy(id[:], text)
	return id, nil
}
