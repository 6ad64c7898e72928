package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// TestAttestSpellings: the same evidence in every form gives the same verdict.
func TestAttestSpellings(t *testing.T) {
	p := simulated(t, simtee.Config{})
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX, attest.SNP} {
		t.Run(string(tee), func(t *testing.T) {
			d := newDesk(t)
			ev := mint(t, p, tee)
			collateral := d.write("collateral", ev.Collateral)
			lines := base64.StdEncoding.EncodeToString(ev.Quote)
			lines = lines[:76] + "\r\n" + lines[76:] + "\n"
			unnamed := ev
			unnamed.TEE = ""
			for name, args := range map[string][]string{
				"raw":                {d.write("raw", ev.Quote), "--collateral", collateral},
				"hexadecimal":        {d.write("hex", []byte(hex.EncodeToString(ev.Quote)+"\n")), "--collateral", collateral},
				"upper case, 0x":     {d.write("HEX", []byte("0x"+strings.ToUpper(hex.EncodeToString(ev.Quote)))), "--collateral", collateral},
				"base64":             {d.write("base64", []byte(lines)), "--collateral", collateral},
				"base64url":          {d.write("base64url", []byte(base64.RawURLEncoding.EncodeToString(ev.Quote))), "--collateral", collateral},
				"JSON":               {d.writeJSON("json", ev)},
				"JSON without kind":  {d.writeJSON("unnamed", unnamed)},
				"collateral twofold": {d.writeJSON("json", ev), "--collateral", collateral},
			} {
				doc, status := d.verdict(append(args, "--time", simTimeText)...)
				if status != 1 || doc["reason"] != "simulated" || doc["tee"] != string(tee) { // it holds, and nobody said that it may be simulated
					t.Errorf("%s: status %d, %v", name, status, doc)
				}
			}
			o := d.run(ev.Quote, "verify", "-", "--collateral", collateral, "--time", simTimeText, "--json")
			if !strings.Contains(o.stdout, `"reason":"simulated"`) {
				t.Errorf("standard input: %+v", o)
			}
		})
	}
}

// TestAttestPublishedAnswers takes the vendor's answers one by one.
func TestAttestPublishedAnswers(t *testing.T) {
	p := simulated(t, simtee.Config{})
	ev := mint(t, p, attest.SGX)
	var all map[string]string
	if err := json.Unmarshal(ev.Collateral, &all); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t)
	answer := func(name, member string) []byte {
		return fmt.Appendf(nil, `{"%s":%s,"signature":"%s"}`, member, all[name], all[name+"_signature"])
	}
	args := []string{d.write("quote", ev.Quote), "--time", simTimeText}
	for name, b := range map[string][]byte{
		"tcb": answer("tcb_info", "tcbInfo"), "qe": answer("qe_identity", "enclaveIdentity"),
		// As in a header of the answer.
		"chain": []byte(strings.ReplaceAll(url.QueryEscape(all["tcb_info_issuer_chain"]), "+", "%20")),
		"root":  []byte(all["root_ca_crl"]),
		"pck":   []byte(all["pck_crl"]),
		"pckCA": []byte(all["pck_crl_issuer_chain"]),
	} {
		args = append(args, "--collateral", d.write(name, b))
	}
	doc, _ := d.verdict(args...)
	if doc["reason"] != "simulated" || doc["revocation_checked"] != true || doc["tcb_status"] != "UpToDate" {
		t.Errorf("%v", doc)
	}

	// Evidence that came without revocation lists, and these from elsewhere.
	lists := []string{"--collateral", d.write("root", []byte(all["root_ca_crl"])), "--collateral", d.write("pck", []byte(all["pck_crl"])),
		"--collateral", d.write("pckCA", []byte(all["pck_crl_issuer_chain"]))}
	for _, name := range []string{"root_ca_crl", "pck_crl", "pck_crl_issuer_chain"} {
		delete(all, name)
	}
	rest, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	file := d.writeJSON("evidence", attest.Evidence{TEE: attest.SGX, Quote: ev.Quote, Collateral: rest})
	for _, row := range []struct {
		more []string
		want bool
	}{{nil, false}, {lists, true}} {
		doc, _ := d.verdict(append([]string{file, "--time", simTimeText}, row.more...)...)
		if doc["reason"] != "simulated" || doc["revocation_checked"] != row.want {
			t.Errorf("with %v: %v", row.more, doc)
		}
	}
}

// TestAttestAMDFiles takes certificates and list in every form.
func TestAttestAMDFiles(t *testing.T) {
	p := simulated(t, simtee.Config{})
	ev := mint(t, p, attest.SNP)
	d := newDesk(t)
	var ders []string
	for i, der := range blocks(ev.Collateral) {
		ders = append(ders, d.write(fmt.Sprint("der", i), der))
	}
	if len(ders) != 4 {
		t.Fatalf("%d parts", len(ders))
	}
	var chain []byte
	for _, der := range blocks(ev.Collateral)[1:3] {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	report, pemChain := d.write("report", ev.Quote), d.write("chain", chain)
	for name, args := range map[string][]string{
		"DER":                 {"--cert", ders[0], "--cert", ders[1], "--cert", ders[2], "--collateral", ders[3]},
		"chain as collateral": {"--collateral", ders[3], "--collateral", pemChain, "--cert", ders[0]},
	} {
		doc, _ := d.verdict(append([]string{report, "--time", simTimeText}, args...)...)
		if doc["reason"] != "simulated" || doc["revocation_checked"] != true {
			t.Errorf("%s: %v", name, doc)
		}
	}
}

// TestAttestRefusesGarbage: what is no evidence is refused with a reason, not
// with a crash, and what is no collateral too.
func TestAttestRefusesGarbage(t *testing.T) {
	d := newDesk(t)
	p := simulated(t, simtee.Config{})
	sgxEvidence, snpEvidence := mint(t, p, attest.SGX), mint(t, p, attest.SNP)
	bare := sgxEvidence
	bare.Collateral = nil
	quote, report := d.write("quote", sgxEvidence.Quote), d.write("report", snpEvidence.Quote)
	garbage := d.write("garbage", []byte("garbage"))
	truncated := sgxEvidence
	truncated.Quote = truncated.Quote[:len(truncated.Quote)-1]
	for name, row := range map[string]struct {
		reason string
		args   []string
	}{
		"nothing":                     {"unsupported", []string{d.write("empty", nil)}},
		"text":                        {"unsupported", []string{garbage}},
		"JSON of another kind":        {"unsupported", []string{d.write("json", []byte(`{"a":1}`))}},
		"a quote cut short":           {"malformed", []string{d.writeJSON("short", truncated)}},
		"a quote cut short, garbage":  {"malformed", []string{d.writeJSON("short", truncated), "--collateral", garbage}},
		"a quote with a byte more":    {"malformed", []string{d.write("long", append(bytes.Clone(sgxEvidence.Quote), 0)), "--collateral", d.write("c", sgxEvidence.Collateral)}},
		"a quote without collateral":  {"missing_collateral", []string{d.writeJSON("bare", bare)}},
		"a quote, garbage":            {"malformed", []string{quote, "--collateral", garbage}},
		"a report, garbage":           {"malformed", []string{report, "--cert", garbage}},
		"a report, a list alone":      {"missing_collateral", []string{report, "--cert", d.write("list", blocks(snpEvidence.Collateral)[3])}},
		"an SGX quote said to be TDX": {"unsupported", []string{d.writeJSON("liar", attest.Evidence{TEE: attest.TDX, Quote: sgxEvidence.Quote, Collateral: sgxEvidence.Collateral})}},
		"the same, garbage":           {"unsupported", []string{d.writeJSON("liar", attest.Evidence{TEE: attest.TDX, Quote: sgxEvidence.Quote}), "--collateral", garbage}},
		"a TEE of the future":         {"unsupported", []string{d.writeJSON("cca", attest.Evidence{TEE: "cca", Quote: sgxEvidence.Quote})}},
	} {
		doc, status := d.verdict(append(row.args, "--time", simTimeText)...)
		if status != 1 || doc["accepted"] != false || doc["reason"] != row.reason || doc["measurement"] != nil {
			t.Errorf("%s: status %d, %v", name, status, doc)
		}
	}
}

func TestAttestShow(t *testing.T) {
	p := simulated(t, simtee.Config{})
	d := newDesk(t)
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX, attest.SNP} {
		ev := mint(t, p, tee)
		ev.Collateral = nil
		file := d.writeJSON(string(tee), ev)
		o := d.run(nil, "show", file, "--time", simTimeText, "--json")
		var doc struct {
			Unverified, Verdict map[string]any
		}
		if err := json.Unmarshal([]byte(o.stdout), &doc); err != nil || o.status != 0 {
			t.Fatalf("%v: %+v", err, o)
		}
		if doc.Unverified["tee"] != string(tee) || doc.Unverified["measurement"] == nil || doc.Verdict["reason"] != "missing_collateral" || doc.Verdict["measurement"] != nil {
			t.Errorf("%v", doc)
		}
		if said := fmt.Sprint(doc.Unverified["report_data"]); !strings.HasPrefix(said, "010203") || len(said) != 128 {
			t.Errorf("report data %s", said)
		}
		platform, _ := doc.Unverified["platform"].(map[string]any)
		if want := hex.EncodeToString(simtee.FMSPC[:]); tee != attest.SNP && platform["fmspc"] != want {
			t.Errorf("platform %v, want FMSPC %s", platform, want)
		}
		people := d.run(nil, "show", file, "--time", simTimeText).stdout
		said, verdict, _ := strings.Cut(people, "\nREFUSED")
		if !strings.HasPrefix(said, "NOT VERIFIED") || verdict == "" || strings.Contains(said, "checked") {
			t.Errorf("%s", people)
		}
	}
	o := d.run([]byte("garbage"), "show", "-")
	if o.status != 1 || !strings.HasPrefix(o.stdout, "REFUSED") || o.stderr != "" {
		t.Errorf("garbage: %+v", o)
	}
}

// TestAttestCommandLine: what cannot be read is an error and no verdict.
func TestAttestCommandLine(t *testing.T) {
	d := newDesk(t)
	ev := mint(t, simulated(t, simtee.Config{}), attest.SGX)
	file := d.writeJSON("evidence", ev)
	for name, row := range map[string]struct {
		status int
		want   string
		args   []string
	}{
		"no evidence":             {2, "evidence", nil},
		"no such file":            {1, "no such file", []string{d.dir + "/none"}},
		"no such collateral":      {1, "no such file", []string{file, "--collateral", d.dir + "/none"}},
		"no such policy":          {1, "no such file", []string{file, "--policy", d.dir + "/none"}},
		"no time":                 {2, "is not a time", []string{file, "--time", "yesterday"}},
		"a certificate for a TEE": {2, "--cert is for SNP", []string{file, "--cert", file}},
		"a policy with a typo":    {1, "bad", []string{file, "--policy", d.write("typo", []byte(`{"sgx":{"identity":[]}}`))}},
		"a policy that is empty":  {1, "", []string{file, "--policy", d.write("empty", nil)}},
		"a node":                  {1, "nothing listens there", []string{"https://127.0.0.1:1"}},
		"endless evidence":        {1, "bytes", []string{d.write("long", make([]byte, maxEvidence+1))}},
	} {
		o := d.run(nil, append([]string{"verify"}, row.args...)...)
		if o.status != row.status || o.stdout != "" || !strings.Contains(o.stderr, row.want) && row.want != "bad" || o.stderr == "" {
			t.Errorf("%s: %+v", name, o)
		}
	}
	// A comma in a name is no second file.
	comma := d.write("a,b", ev.Collateral)
	if doc, _ := d.verdict(file, "--collateral", comma, "--time", simTimeText); doc["reason"] != "simulated" {
		t.Errorf("%v", doc)
	}
	// Without a time it is now, when that collateral is long over.
	if doc, _ := d.verdict(file); doc["reason"] != "collateral_expired" && doc["reason"] != "collateral_not_yet_valid" && doc["reason"] != "simulated" {
		t.Errorf("%v", doc)
	}
}

// TestAttestStrangersWords: nothing that evidence says steers the terminal.
func TestAttestStrangersWords(t *testing.T) {
	d := newDesk(t)
	o := d.run(nil, "verify", d.writeJSON("e", attest.Evidence{TEE: "\x1b[2J\u009b", Quote: []byte("q")}))
	if o.status != 1 || strings.ContainsAny(o.stdout, "\x1b\u009b") {
		t.Errorf("%q", o.stdout)
	}
	if got := oneLines("a\x1b[2J\n\u009bb\r\n"); got != "a[2J\nb\n" {
		t.Errorf("%q", got)
	}
}

func FuzzRecognizeEvidence(f *testing.F) {
	f.Add([]byte(`{"tee":"sgx","quote":"AwAA","collateral":""}`))
	f.Add([]byte("0x0300020000000000"))
	f.Add([]byte("AwACAAAAAAA="))
	f.Add(make([]byte, 1184))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev := recognizeEvidence(b)
		if _, err := unverified(ev); err == nil && teeOf(ev) == "" {
			t.Error("evidence of no kind says something")
		}
		j := judgement{evidence: ev, at: simTime}
		if j.add(given{collateral: [][]byte{b}}) != nil || j.verdict().Accepted {
			t.Error("accepted")
		}
	})
}
