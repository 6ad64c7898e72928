package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// A ruling is a document that several people sign.
type ruling interface {
	Canonical() []byte
}

// parseRuling reads the document that an envelope of type t carries.
func parseRuling(t govern.PayloadType, b []byte) (ruling, error) {
	switch t {
	case govern.BootstrapType:
		return govern.ParseBootstrap(b)
	case govern.PolicyType:
		return govern.ParsePolicy(b)
	case govern.AmendmentType:
		return govern.ParseAmendment(b)
	case govern.RecoveryType:
		return govern.ParseRecovery(b)
	}
	return nil, kms.Errorf(kms.Invalid, "%s: not a document that is signed here", t)
}

// readEnvelope reads a file that holds an envelope of type t.
func readEnvelope(path string, t govern.PayloadType) ([]byte, *govern.Envelope, error) {
	b, err := readRuling(path)
	if err != nil {
		return nil, nil, err
	}
	e, err := govern.ParseEnvelope(b)
	if err == nil && e.Type != t {
		err = kms.Errorf(kms.Invalid, "it holds a %s, not a %s", e.Type, t)
	}
	if err != nil {
		return nil, nil, because(err, orElse(kms.HintOf(err), "it takes a signed "+t.String()+": the file that `sign` writes"), path)
	}
	return b, e, nil
}

// readRuling reads a document, signed or not.
func readRuling(path string) ([]byte, error) {
	b, err := readBounded(path, govern.MaxEnvelope)
	return bytes.TrimSpace(b), err
}

// readDraft reads a document of type t that may be signed already; e is nil
// where it is not.
func readDraft(path string, t govern.PayloadType) (doc ruling, e *govern.Envelope, err error) {
	b, err := readRuling(path)
	if err != nil {
		return nil, nil, err
	}
	payload := b
	if looksSigned(b) {
		if _, e, err = readEnvelope(path, t); err != nil {
			return nil, nil, err
		}
		payload = e.Payload
	}
	if doc, err = parseRuling(t, payload); err != nil {
		return nil, nil, because(err, kms.HintOf(err), path)
	}
	return doc, e, nil
}

// looksSigned tells an envelope from a draft: no document has such a member.
func looksSigned(b []byte) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(b, &members) == nil && members["payloadType"] != nil
}

// readPolicy reads a policy, signed or not.
func readPolicy(path string) (*govern.Policy, *govern.Envelope, error) {
	doc, e, err := readDraft(path, govern.PolicyType)
	if err != nil {
		return nil, nil, err
	}
	return doc.(*govern.Policy), e, nil
}

// signFlags are those of every `sign`.
type signFlags struct {
	File       string `arg:"" help:"The document: a draft, or one that others have signed."`
	Key        string `required:"" placeholder:"FILE" help:"Your private key."`
	Passphrase string `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of the key, if it has one. Without it you are asked."`
	Out        string `short:"o" placeholder:"FILE" help:"Where the signed document goes. Without it, a signature is added to FILE in place, and a draft FILE.json becomes FILE.signed.json."`
	Force      bool   `help:"Replace what is there."`
	Charter    string `placeholder:"FILE" help:"The charter, where no amendment came since: then a key is refused that is neither the owner's nor a signer's, whose signature would spoil the document."`
}

// hasSay refuses the key of somebody whom the charter gives no say: one such
// signature refuses the whole document.
func (c *signFlags) hasSay(key govern.PublicKey, doc ruling) error {
	if c.Charter == "" {
		return nil
	}
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	allowed := append([]govern.PublicKey{charter.Owner}, charter.Signers...)
	if a, ok := doc.(*govern.Amendment); ok { // who is new has to show that he holds his key
		allowed = append(append(allowed, a.Owner), a.Signers...)
	}
	if slices.ContainsFunc(allowed, func(k govern.PublicKey) bool { return k.ID() == key.ID() }) {
		return nil
	}
	return problemf("sign with the key of the owner or of a signer; after an amendment that changed them leave --charter out",
		"key %s is neither the owner's nor a signer's by the charter: with its signature the document would be refused", shortID(key))
}

// signedSuffix is what the name of a signed document ends in.
const signedSuffix = ".signed.json"

// sign adds a signature to a document.
func (c *signFlags) sign(s *session, t govern.PayloadType) error {
	doc, e, err := readDraft(c.File, t)
	if err != nil {
		return err
	}
	envelope := govern.NewEnvelope(t, doc.Canonical())
	if e != nil {
		if !bytes.Equal(e.Payload, doc.Canonical()) {
			return problemf("ask whoever made it for another one", "%s is not in canonical form: nobody would take it", c.File)
		}
		envelope = e.Encode()
	}
	key, err := s.openKey(c.Key, c.Passphrase)
	if err == nil {
		err = c.hasSay(key.Public(), doc)
	}
	if err != nil {
		return err
	}
	if envelope, err = govern.Sign(envelope, key); err != nil {
		return err
	}
	out, force := c.place(e != nil)
	if err := s.writeFile(out, append(envelope, '\n'), force); err != nil || out == "-" {
		return err
	}
	return s.showSigned(out, t, doc, key.Public(), envelope)
}

// place is where the signed document goes, and whether it may replace something.
func (c *signFlags) place(signed bool) (path string, force bool) {
	switch {
	case c.Out != "":
		return c.Out, c.Force || c.Out == c.File && signed
	case signed:
		return c.File, true
	}
	return strings.TrimSuffix(c.File, ".json") + signedSuffix, c.Force
}

// A signedDoc is what --json prints of a document that was just signed.
type signedDoc struct {
	File       string        `json:"file"`
	Type       string        `json:"type"`
	Digest     govern.Digest `json:"digest,omitzero"`
	KeyID      string        `json:"key_id"`
	Signatures int           `json:"signatures"`
}

func (s *session) showSigned(path string, t govern.PayloadType, doc ruling, by govern.PublicKey, envelope []byte) error {
	e, err := govern.ParseEnvelope(envelope)
	if err != nil {
		return err
	}
	out := signedDoc{File: path, Type: t.String(), KeyID: by.ID(), Signatures: len(e.Signatures)}
	if d, ok := doc.(interface{ Digest() govern.Digest }); ok {
		out.Digest = d.Digest()
	}
	return s.show(out, func(w io.Writer) {
		fmt.Fprintf(w, "signed\t%s by key %s\n", t, shortID(by))
		if !out.Digest.IsZero() {
			fmt.Fprintf(w, "digest\t%s\n", out.Digest)
		}
		fmt.Fprintf(w, "signatures\t%d, in %s\n", out.Signatures, path)
	})
}

// writeFile writes a file for everyone to read: all of it or nothing. It replaces
// nothing unless it is told to.
func (s *session) writeFile(path string, b []byte, force bool) error {
	if path != "-" && !force && exists(path) {
		return taken(path)
	}
	out, err := s.newOutput(path)
	if err != nil {
		return because(err, "name another file with --out", "writing "+path)
	}
	_, err = out.Write(b)
	if err == nil && out.temp {
		err = out.file.Chmod(0o644)
	}
	if err != nil {
		out.discard()
		return because(err, "", "writing "+path)
	}
	return out.commit()
}

func taken(path string) error {
	return problemf("name another file with --out, or say --force where there is such a flag", "%s exists already", path)
}

// draftText is a document for people to read and edit.
func draftText(doc ruling) []byte {
	var b bytes.Buffer
	if json.Indent(&b, doc.Canonical(), "", "  ") != nil {
		return doc.Canonical()
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// rulers are who has to sign something.
type rulers struct {
	Owner     govern.PublicKey
	Signers   []govern.PublicKey
	Threshold int
	Fresh     []govern.PublicKey // that an amendment brings in
}

func rulersOf(s govern.Standing) rulers {
	return rulers{Owner: s.Owner, Signers: s.Signers, Threshold: s.Threshold}
}

// A signedLine is one line of who signed, and who has not.
type signedLine struct {
	Role   string           `json:"role"` // "owner", "signer", "new key"
	Key    govern.PublicKey `json:"public_key"`
	KeyID  string           `json:"key_id"`
	Signed bool             `json:"signed"`
}

// A tally is what is known of the signatures on a document.
type tally struct {
	File       string        `json:"file"`
	Type       string        `json:"type"`
	Digest     govern.Digest `json:"digest,omitzero"`
	Valid      bool          `json:"valid"`     // it would be accepted, but for who submits it
	Submitted  bool          `json:"submitted"` // the owner signed
	Threshold  int           `json:"threshold"`
	Have       int           `json:"have"`    // signatures that count towards it
	Missing    int           `json:"missing"` // how many more it takes
	Signatures []signedLine  `json:"signatures"`
	Strangers  []string      `json:"strangers,omitempty"` // key ids that have no say: they refuse the document
	Reason     string        `json:"reason,omitempty"`
	Hint       string        `json:"hint,omitempty"`
}

// count sees who signed. refusal is what the rules say of the whole.
func (r rulers) count(path string, e *govern.Envelope, doc ruling, refusal error) tally {
	t := tally{File: path, Type: e.Type.String(), Threshold: r.Threshold, Valid: refusal == nil, Submitted: e.SignedBy(r.Owner)}
	if d, ok := doc.(interface{ Digest() govern.Digest }); ok {
		t.Digest = d.Digest()
	}
	var known []string
	add := func(role string, k govern.PublicKey) bool {
		known = append(known, k.ID())
		t.Signatures = append(t.Signatures, signedLine{role, k, k.ID(), e.SignedBy(k)})
		return e.SignedBy(k)
	}
	add("owner", r.Owner)
	for _, k := range r.Signers {
		if add("signer", k) {
			t.Have++
		}
	}
	for _, k := range r.Fresh {
		if !slices.Contains(known, k.ID()) {
			add("new key", k)
		}
	}
	for _, sig := range e.Signatures {
		if !slices.Contains(known, sig.KeyID) {
			t.Strangers = append(t.Strangers, sig.KeyID)
		}
	}
	t.Missing = max(0, r.Threshold-t.Have)
	if refusal != nil {
		t.Reason, t.Hint = refusal.Error(), kms.HintOf(refusal)
	}
	return t
}

// showTally shows who signed; what is not valid is a result, with status 1.
func (s *session) showTally(t tally) error {
	err := s.show(t, func(w io.Writer) { printTally(w, t) })
	if err == nil && !t.Valid {
		return errQuiet
	}
	return err
}

func printTally(w io.Writer, t tally) {
	fmt.Fprintf(w, "%s\t%s\n", t.Type, t.File)
	if !t.Digest.IsZero() {
		fmt.Fprintf(w, "digest\t%s\n", t.Digest)
	}
	for _, sig := range t.Signatures {
		state := "has not signed"
		if sig.Signed {
			state = "signed"
		}
		fmt.Fprintf(w, "%s\t%s  %s\n", sig.Role, shortID(sig.Key), state)
	}
	for _, id := range t.Strangers {
		fmt.Fprintf(w, "stranger\t%.16s  signed, and has no say: it refuses the document\n", id)
	}
	fmt.Fprintf(w, "threshold\t%d of the %d that it takes", t.Have, t.Threshold)
	if t.Missing > 0 {
		fmt.Fprintf(w, ", %d missing", t.Missing)
	}
	fmt.Fprintln(w)
	switch {
	case !t.Valid:
		fmt.Fprintf(w, "verdict\tREFUSED: %s\n", oneLine(t.Reason))
		if t.Hint != "" {
			fmt.Fprintf(w, "hint\t%s\n", t.Hint)
		}
	case !t.Submitted:
		fmt.Fprintf(w, "verdict\tvalid; the owner has to sign it too before it can be submitted\n")
	default:
		fmt.Fprintf(w, "verdict\tvalid\n")
	}
}

// groundFlags name the documents that say who rules.
type groundFlags struct {
	Charter   string   `required:"" placeholder:"FILE" help:"The charter that the domain is founded on."`
	Bootstrap string   `placeholder:"FILE" help:"The signed bootstrap of the domain."`
	Amendment []string `sep:"none" placeholder:"FILE" help:"The amendments so far, signed, oldest first; may be given several times."`
}

// charter reads the charter.
func (g *groundFlags) charter() (*govern.Charter, error) { return readCharterFile(g.Charter) }

func readCharterFile(path string) (*govern.Charter, error) {
	b, err := readCharter(path, ".")
	if err != nil {
		return nil, err
	}
	charter, err := govern.ParseCharter(b)
	if err != nil {
		return nil, because(err, orElse(kms.HintOf(err), "it takes the charter: the file that `holdfast charter new` wrote"), path)
	}
	return charter, nil
}

// standing is who rules the domain by these documents.
func (g *groundFlags) standing() (standing govern.Standing, bootstrap *govern.Bootstrap, err error) {
	charter, err := g.charter()
	if err != nil {
		return standing, nil, err
	}
	if g.Bootstrap == "" {
		return standing, nil, misusef("name it with --bootstrap", "the domain is known by its charter and its bootstrap")
	}
	envelope, _, err := readEnvelope(g.Bootstrap, govern.BootstrapType)
	if err != nil {
		return standing, nil, err
	}
	if bootstrap, standing, err = govern.VerifyBootstrap(charter, envelope); err != nil {
		return standing, nil, because(err, kms.HintOf(err), g.Bootstrap)
	}
	for _, path := range g.Amendment {
		if envelope, _, err = readEnvelope(path, govern.AmendmentType); err != nil {
			return standing, nil, err
		}
		if standing, err = standing.Amend(envelope); err != nil {
			return standing, nil, because(err, kms.HintOf(err), path)
		}
	}
	return standing, bootstrap, nil
}

// errUnsigned is what cannot be done with a draft.
func errUnsigned(path string) error {
	return problemf("sign it first", "%s is a draft that nobody has signed", path)
}

// isNodeURL tells a node from a file.
func isNodeURL(s string) bool { return strings.HasPrefix(s, "https://") }
