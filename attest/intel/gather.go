package intel

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/attest"
)

// Gather makes collateral in the JSON form from PCS's own answers, in any
// order, each recognised by its content: the TCB info and the QE identity as
// JSON with their signatures, issuer chains in PEM, revocation lists as DER,
// hexadecimal DER or PEM. A file in the JSON form counts as all that is in it;
// what comes later replaces what came before. Nothing is verified.
func Gather(parts ...[]byte) ([]byte, error) {
	var g gathering
	for _, part := range parts {
		if err := g.add(part); err != nil {
			return nil, err
		}
	}
	return g.collateral().Encode()
}

type gathering struct {
	Collateral
	caChain string // of a PCK CA
}

const partAnswer = "answer of the PCS"

func (g *gathering) add(b []byte) error {
	if len(b) > MaxCollateral {
		return attest.Refuse(attest.Malformed, partAnswer, "more than %d bytes", MaxCollateral)
	}
	text := bytes.TrimSpace(b)
	switch {
	case bytes.HasPrefix(text, []byte("{")):
		return g.addJSON(text)
	case bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")):
		return g.addChain(text)
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		block, rest := pem.Decode(text)
		if block == nil || len(bytes.TrimSpace(rest)) > 0 {
			return attest.Refuse(attest.Malformed, partAnswer, "not one block of PEM")
		}
		return g.addList(block.Bytes)
	}
	if der, err := hex.DecodeString(string(text)); err == nil {
		return g.addList(der)
	}
	return g.addList(b) // DER, every byte of it
}

// answer is one of PCS's signed answers. jsontext.Value keeps the bytes of the
// member as they are, for they are what is signed.
type answer struct {
	TCBInfo    jsontext.Value `json:"tcbInfo"`
	QEIdentity jsontext.Value `json:"enclaveIdentity"`
	Signature  string         `json:"signature"`
}

func (g *gathering) addJSON(text []byte) error {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return attest.Refuse(attest.Malformed, partAnswer, "%w", err)
	}
	switch {
	case a.TCBInfo != nil:
		g.TCBInfo, g.TCBInfoSignature = string(a.TCBInfo), a.Signature
	case a.QEIdentity != nil:
		g.QEIdentity, g.QEIdentitySignature = string(a.QEIdentity), a.Signature
	default:
		return g.merge(text)
	}
	return nil
}

func (g *gathering) merge(text []byte) error {
	c, err := ParseCollateral(text)
	if err != nil {
		return err
	}
	for _, m := range []struct{ into, from *string }{
		{&g.caChain, &c.PCKCRLChain},
		{&g.TCBInfoChain, &c.TCBInfoChain}, {&g.TCBInfo, &c.TCBInfo}, {&g.TCBInfoSignature, &c.TCBInfoSignature},
		{&g.QEIdentityChain, &c.QEIdentityChain}, {&g.QEIdentity, &c.QEIdentity}, {&g.QEIdentitySignature, &c.QEIdentitySignature},
	} {
		if *m.from != "" {
			*m.into = *m.from
		}
	}
	if c.RootCRL != nil {
		g.RootCRL = c.RootCRL
	}
	if c.PCKCRL != nil {
		g.PCKCRL = c.PCKCRL
	}
	return nil
}

func (g *gathering) addChain(text []byte) error {
	chain, err := parseChain(partAnswer, text)
	if err != nil {
		return err
	}
	if pckCARole.fill(chain[0]) == nil {
		g.caChain = string(text)
	} else {
		g.TCBInfoChain, g.QEIdentityChain = string(text), string(text)
	}
	return nil
}

func (g *gathering) addList(der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return attest.Refuse(attest.Malformed, partAnswer, "neither JSON, certificates nor a revocation list")
	}
	if list.Issuer.CommonName == nameRoot {
		g.RootCRL = der
	} else {
		g.PCKCRL = der
	}
	return nil
}

// collateral puts the chain of a PCK CA in its place: it is the issuer of the
// PCK CA's revocation list. Where there is no such list and no other chain, it
// was given as the signer of the statements, and verification is to say that
// it is not.
func (g *gathering) collateral() *Collateral {
	c := g.Collateral
	switch {
	case c.PCKCRL != nil:
		c.PCKCRLChain = g.caChain
	case c.TCBInfoChain == "":
		c.TCBInfoChain = g.caChain
		if c.QEIdentityChain == "" {
			c.QEIdentityChain = g.caChain
		}
	}
	return &c
}
