package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/raw"
	"github.com/holdfast-kms/holdfast/kms"
)

// A template is an HTTP request in which what differs from one to the next is
// filled in, which costs little of the CPU that the client shares with the server.
type template interface {
	// source makes the source of one connection's requests, each of which is new.
	source(tls.ConnectionState) func() []byte
}

// newTemplate makes the template of an action's requests.
func (b *bench) newTemplate(action string, payload map[string]any) (template, error) {
	p, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	if b.config.SignatureV1 {
		return newTemplateV1(b.config, b.addr, action, p)
	}
	return newTemplateV2(b.config, b.addr, action, p), nil
}

// requestHead is a request up to its body, with a header more.
func requestHead(host, action, header string, length int) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: holdfast-bench\r\n"+
		"Content-Type: application/json\r\n%sContent-Length: %d\r\n\r\n", requestTarget(action), host, header, length)
}

func requestTarget(action string) string { return "/ehsm?Action=" + action }

// A templateV2 is a request with a signature of version 2, tied to its connection.
type templateV2 struct {
	apiKey []byte
	what   signature.Request
	header signature.Header
	text   []byte // the request
	at     int    // where the value of the signature's header is in it
}

func newTemplateV2(cfg client.Config, host, action string, payload []byte) *templateV2 {
	body := fmt.Appendf(nil, `{"appid":"%s","payload":%s}`, cfg.AppID, payload)
	t := &templateV2{
		apiKey: []byte(cfg.APIKey.Reveal()),
		what:   signature.Request{Method: "POST", Host: host, Target: requestTarget(action), BodyHash: sha256.Sum256(body)},
		header: signature.Header{Credential: kms.CredentialID(cfg.AppID), Binding: signature.BindExporter, TimeMillis: time.Now().UnixMilli()},
	}
	if cfg.Unbound {
		t.header.Binding = signature.BindNone
	}
	value := t.header.String() // as long as every other: the time has 13 digits until 2286
	head := requestHead(host, action, signature.HeaderName+": "+value+"\r\n", len(body))
	t.at = bytes.Index(head, []byte(value))
	t.text = append(head, body...)
	return t
}

func (t *templateV2) source(state tls.ConnectionState) func() []byte {
	text, what, header := bytes.Clone(t.text), t.what, t.header
	if header.Binding == signature.BindExporter {
		// Without an exporter the server refuses, and so says what is wrong.
		what.Exporter, _ = signature.Exporter(&state)
	}
	return func() []byte {
		rand.Read(header.Nonce[:])
		header.TimeMillis = time.Now().UnixMilli()
		signature.Sign(t.apiKey, &header, &what)
		copy(text[t.at:], header.String())
		return text
	}
}

// A templateV1 is a request with eHSM's signature, in which three fields of
// fixed length are open: nonce, time and signature.
type templateV1 struct {
	apiKey                        []byte
	request                       []byte // head and body
	signed                        []byte // the body's string to sign
	nonce, time, sign             int    // where they are in request
	signedNonce, signedTime, body int    // and in signed; where the body begins
}

// What stands in the open fields: nothing that occurs by chance.
var (
	blankNonce = strings.Repeat("~", 32)
	blankTime  = strings.Repeat("^", 13)
	blankSign  = strings.Repeat("`", base64.StdEncoding.EncodedLen(wire.MACSize))
)

func newTemplateV1(cfg client.Config, host, action string, payload []byte) (*templateV1, error) {
	body := fmt.Appendf(nil, `{"appid":"%s","payload":%s,"nonce":"%s","timestamp":"%s","sign":"%s"}`,
		cfg.AppID, payload, blankNonce, blankTime, blankSign)
	t := &templateV1{apiKey: []byte(cfg.APIKey.Reveal())}
	var err error
	if t.signed, err = wire.StringToSign(body); err != nil {
		return nil, err
	}
	head := requestHead(host, action, "", len(body))
	t.body = len(head)
	t.request = append(head, body...)
	return t, t.locate()
}

// locate finds the open fields, each of which must be there once.
func (t *templateV1) locate() error {
	for _, f := range []struct {
		in    []byte
		blank string
		at    *int
	}{
		{t.request, blankNonce, &t.nonce}, {t.request, blankTime, &t.time}, {t.request, blankSign, &t.sign},
		{t.signed, blankNonce, &t.signedNonce}, {t.signed, blankTime, &t.signedTime},
	} {
		if bytes.Count(f.in, []byte(f.blank)) != 1 {
			return errors.New("the request has no room for nonce, time and signature")
		}
		*f.at = bytes.Index(f.in, []byte(f.blank))
	}
	return nil
}

func (t *templateV1) source(tls.ConnectionState) func() []byte {
	request, signed := bytes.Clone(t.request), bytes.Clone(t.signed)
	var random [16]byte
	var millis [20]byte
	return func() []byte {
		rand.Read(random[:])
		hex.Encode(request[t.nonce:], random[:])
		copy(signed[t.signedNonce:], request[t.nonce:t.nonce+len(blankNonce)])
		now := strconv.AppendInt(millis[:0], time.Now().UnixMilli(), 10)
		copy(request[t.time:t.time+len(blankTime)], now)
		copy(signed[t.signedTime:t.signedTime+len(blankTime)], now)
		base64.StdEncoding.Encode(request[t.sign:], wire.MAC(t.apiKey, signed))
		return request
	}
}

// checkReply accepts a success. It looks for the code where a JSON encoder
// puts it, in any order of members and with or without spaces.
func checkReply(body []byte) error {
	_, rest, ok := bytes.Cut(body, []byte(`"code"`))
	rest = bytes.TrimLeft(rest, ": ")
	if ok && bytes.HasPrefix(rest, []byte("200")) {
		return nil
	}
	return fmt.Errorf("refused: %s", oneLine(string(body[:min(len(body), 200)])))
}

// template makes the keys that op needs, and its requests. The caller calls
// done when it has no more use for the keys.
func (b *bench) template(op benchOp, spec kms.Spec) (t template, done func(), err error) {
	done = func() {}
	if op == "create" {
		t, err = b.createTemplate(spec)
		return t, done, err
	}
	ctx := b.session.ctx
	key, err := b.client.CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Usages: op.usages()})
	if err != nil {
		return nil, done, err
	}
	done = func() { forget(b.session, b.client, key) }
	action, payload, err := b.payload(ctx, op, spec, key)
	if err == nil {
		t, err = b.newTemplate(action, payload)
	}
	if err != nil {
		done()
	}
	return t, done, err
}

// createTemplate asks for keys that stay: to delete as many would be a
// benchmark of its own.
func (b *bench) createTemplate(spec kms.Spec) (template, error) {
	b.session.note("create leaves its keys in app %s; `holdfast key delete --all` removes every key of the app", b.config.AppID)
	row, _ := spec.Capability()
	specName, ok1 := wire.SpecName(spec)
	usage, ok2 := wire.UsagesName(row.UsageSets[0])
	origin, ok3 := wire.OriginName(kms.Generated)
	if !ok1 || !ok2 || !ok3 {
		return nil, errors.New("the protocol has no name for the spec")
	}
	return b.newTemplate("CreateKey", map[string]any{"keyspec": specName, "origin": origin, "keyusage": usage})
}

// payload is what the requests of op ask for.
func (b *bench) payload(ctx context.Context, op benchOp, spec kms.Spec, key kms.KeyID) (action string, payload map[string]any, err error) {
	data := random(b.Size)
	payload = map[string]any{"keyid": key}
	row, _ := spec.Capability()
	switch op {
	case "encrypt", "decrypt":
		if row.Family == kms.Asymmetric {
			return b.asymmetricPayload(ctx, op, key, payload)
		}
		if op == "encrypt" {
			payload["plaintext"] = data
			return "Encrypt", payload, nil
		}
		payload["ciphertext"], err = b.client.Encrypt(ctx, key, data, nil)
		return "Decrypt", payload, err
	case "datakey":
		payload["keylen"] = 32
		return "GenerateDataKey", payload, nil
	case "sign", "verify":
		return b.signPayload(ctx, op, row, key, payload)
	case "mac":
		payload["message"] = data
		return "GenerateMac", payload, nil
	}
	return "", nil, fmt.Errorf("no such operation: %s", op)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (b *bench) asymmetricPayload(ctx context.Context, op benchOp, key kms.KeyID, payload map[string]any) (string, map[string]any, error) {
	data := random(raw.DataKeySize)
	payload["padding_mode"] = "EH_RSA_PKCS1_OAEP"
	if op == "encrypt" {
		payload["plaintext"] = data
		return "AsymmetricEncrypt", payload, nil
	}
	var err error
	payload["ciphertext"], err = b.client.AsymmetricEncrypt(ctx, key, data, kms.PaddingOAEP)
	return "AsymmetricDecrypt", payload, err
}

func (b *bench) signPayload(ctx context.Context, op benchOp, row *kms.Capability, key kms.KeyID, payload map[string]any) (string, map[string]any, error) {
	data := random(b.Size)
	payload["message"], payload["message_type"], payload["padding_mode"] = data, "EH_RAW", "EH_RSA_PKCS1_PSS"
	if len(row.Digests) > 0 {
		payload["digest_mode"], _ = wire.DigestName(row.Digests[0])
	}
	if op == "sign" {
		return "Sign", payload, nil
	}
	signer, err := b.signer(row)
	if err != nil {
		return "", nil, err
	}
	defer signer.Close()
	payload["signature"], err = signer.Sign(ctx, key, kms.SigningInput{Message: data, Padding: kms.PaddingPSS})
	return "Verify", payload, err
}

// signer is a client that can sign with a spec: a request that is signed as eHSM
// does always names a digest, and specs that eHSM lacks take none.
func (b *bench) signer(row *kms.Capability) (*client.Client, error) {
	config := b.config
	config.SignatureV1 = config.SignatureV1 && len(row.Digests) > 0
	return client.New(config)
}
