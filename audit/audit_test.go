package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
)

var (
	domain  = kms.DomainID{1, 2, 3}
	nodeA   = kms.NodeID{0xa}
	nodeB   = kms.NodeID{0xb}
	signing = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	private = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	epoch   = time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
)

// A record is a node's chain being written.
type record struct {
	node  kms.NodeID
	lines [][]byte
	seq   uint64
	hash  audit.Hash
}

func newRecord(node kms.NodeID) *record {
	return &record{node: node, hash: audit.Genesis(domain, node)}
}

func (r *record) add(e audit.Entry) {
	r.seq++
	e.Seq, e.Node, e.Prev, e.Time = r.seq, r.node, r.hash, epoch.Add(time.Duration(r.seq)*time.Second)
	if e.Operation == "" {
		e.Operation, e.Outcome, e.Key = "Encrypt", audit.OK, kms.KeyRef{ID: kms.KeyID{7}, Version: 3}
	}
	line := e.Append(nil)
	r.lines, r.hash = append(r.lines, line), audit.Sum(line)
}

func (r *record) fill(n int) *record {
	for range n {
		r.add(audit.Entry{})
	}
	return r
}

func (r *record) head() audit.Head {
	h := audit.Head{Seq: r.seq, Node: r.node, Time: epoch, Hash: r.hash}
	copy(h.Signature[:], ed25519.Sign(private, h.Text(domain)))
	return h
}

func (r *record) addHead() *record {
	h := r.head()
	r.lines = append(r.lines, h.Append(nil))
	return r
}

func checkpoint(heads ...audit.Head) *audit.Checkpoint {
	k := audit.Key{Public: [32]byte(private.Public().(ed25519.PublicKey))}
	copy(k.Voucher[:], ed25519.Sign(signing, k.Text(domain)))
	return &audit.Checkpoint{Domain: domain, Keys: []audit.Key{k}, Heads: heads,
		SigningKeys: []audit.SigningKey{{Public: [32]byte(signing.Public().(ed25519.PublicKey))}}}
}

func verify(t *testing.T, cp *audit.Checkpoint, lines [][]byte) *audit.Report {
	t.Helper()
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	text := bytes.Join(lines, []byte("\n"))
	if len(lines) > 0 {
		text = append(text, '\n')
	}
	if err := v.Read("f", bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return v.Report()
}

// found is what a report found: fault, entries and line.
func found(r *audit.Report) string {
	var all []string
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%s %d-%d @%d", f.Fault, f.From, f.To, f.Place.Line))
	}
	return strings.Join(all, "; ")
}

// TestTampering: each thing that a host can do to a file is found, and where.
func TestTampering(t *testing.T) {
	whole := func() *record { return newRecord(nodeA).fill(10).addHead().fill(5).addHead() } // lines 0-9, head, 11-15, head
	cp := checkpoint(whole().head())
	altered := func(line []byte) []byte { return bytes.Replace(line, []byte(`"Encrypt"`), []byte(`"Decrypt"`), 1) }
	for name, c := range map[string]struct {
		change func(lines [][]byte) [][]byte
		want   string
	}{
		"nothing":              {func(l [][]byte) [][]byte { return l }, ""},
		"one removed":          {func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) }, "removed 5-5 @5"},
		"some removed":         {func(l [][]byte) [][]byte { return slices.Delete(l, 4, 8) }, "removed 5-8 @5"},
		"removed over a head":  {func(l [][]byte) [][]byte { return slices.Delete(l, 8, 12) }, "removed 9-11 @9"},
		"first removed":        {func(l [][]byte) [][]byte { return l[2:] }, "beheaded 1-2 @1"},
		"altered":              {func(l [][]byte) [][]byte { l[4] = altered(l[4]); return l }, "altered 5-5 @5"},
		"first altered":        {func(l [][]byte) [][]byte { l[0] = altered(l[0]); return l }, "altered 1-1 @1"},
		"last altered":         {func(l [][]byte) [][]byte { l[15] = altered(l[15]); return l }, "altered 11-15 @0; altered 11-15 @17"},
		"not ours any more":    {func(l [][]byte) [][]byte { l[4] = []byte("{}"); return l }, "malformed 0-0 @5; removed 5-5 @6"},
		"reordered":            {func(l [][]byte) [][]byte { l[4], l[5] = l[5], l[4]; return l }, "misplaced 5-5 @6"},
		"moved far":            {func(l [][]byte) [][]byte { x := l[2]; return append(slices.Delete(l, 2, 3), x) }, "misplaced 3-3 @17"},
		"cut off":              {func(l [][]byte) [][]byte { return l[:9] }, "truncated 10-15 @9"},
		"cut off with heads":   {func(l [][]byte) [][]byte { return l[:13] }, "truncated 13-15 @13"},
		"cut off in a line":    {func(l [][]byte) [][]byte { l[15] = l[15][:40]; return l[:16] }, "truncated 15-15 @15; malformed 0-0 @16"},
		"twice":                {func(l [][]byte) [][]byte { return slices.Insert(l, 6, l[4], l[5]) }, ""},
		"another of a number":  {func(l [][]byte) [][]byte { return slices.Insert(l, 6, altered(l[5])) }, "doubled 6-6 @7"},
		"everything":           {func(l [][]byte) [][]byte { return nil }, "truncated 1-15 @0"},
		"written anew":         {func(l [][]byte) [][]byte { return rewritten(l, 12) }, "altered 11-15 @0; altered 11-15 @17"},
		"a head of nobody's":   {func(l [][]byte) [][]byte { l[10] = forged(l[10]); return l }, "forged 10-10 @11"},
		"a head with no entry": {func(l [][]byte) [][]byte { return append(l, newRecord(nodeA).fill(20).addHead().lines[20]) }, "truncated 16-20 @16"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := found(verify(t, cp, c.change(whole().lines))); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// rewritten alters a line and makes all behind it fit.
func rewritten(lines [][]byte, from int) [][]byte {
	var last audit.Hash
	for i, l := range lines {
		if audit.IsHead(l) {
			continue
		}
		e, _ := audit.ParseEntry(l)
		if i == from {
			e.Operation = "Decrypt"
		}
		if i > from {
			e.Prev = last
		}
		lines[i] = e.Append(nil)
		last = audit.Sum(lines[i])
	}
	return lines
}

func forged(line []byte) []byte {
	h, _ := audit.ParseHead(line)
	h.Signature[5] ^= 1
	return h.Append(nil)
}

// TestProof: the report says where its proof ends.
func TestProof(t *testing.T) {
	r := newRecord(nodeA).fill(10).addHead().fill(4)
	got := verify(t, checkpoint(), r.lines)
	c := got.Chains[0]
	if !got.Good() || c.First != 1 || c.Last != 14 || c.Proven != 10 || c.Entries != 14 || !c.ProvenAt.Equal(epoch) {
		t.Errorf("%+v %s", c, found(got))
	}
	unsigned := verify(t, nil, r.lines)
	if unsigned.Signed || !unsigned.Good() {
		t.Errorf("%+v", unsigned)
	}
	other := newRecord(nodeA)
	other.hash[0]++
	if got := found(verify(t, checkpoint(), other.fill(3).lines)); got != "altered 1-1 @1" {
		t.Errorf("another domain's: %q", got)
	}
}

// TestNodes: chains of several nodes in one file do not disturb each other.
func TestNodes(t *testing.T) {
	a, b := newRecord(nodeA).fill(6).addHead(), newRecord(nodeB).fill(6).addHead()
	var lines [][]byte
	for i := range a.lines {
		lines = append(lines, b.lines[i], a.lines[i])
	}
	if r := verify(t, checkpoint(a.head(), b.head()), lines); !r.Good() || len(r.Chains) != 2 || r.Chains[1].Proven != 6 {
		t.Errorf("%s", found(r))
	}
	if got := found(verify(t, checkpoint(a.head(), b.head()), slices.Delete(lines, 4, 5))); got != "removed 3-3 @6" {
		t.Errorf("one of b: %q", got)
	}
}

// TestRestarts: what is in doubt after a start is told, and what is not is not.
func TestRestarts(t *testing.T) {
	start := func(head uint64) audit.Entry {
		return audit.Entry{Operation: audit.Start, Outcome: audit.OK, Head: head}
	}
	clean := newRecord(nodeA).fill(3)
	clean.add(audit.Entry{Operation: audit.Stop, Outcome: audit.OK})
	clean.add(start(2))
	if r := verify(t, checkpoint(), clean.fill(2).lines); !r.Good() || len(r.Chains[0].Doubts) != 0 {
		t.Errorf("after a Stop: %+v", r.Chains[0].Doubts)
	}
	killed := newRecord(nodeA).fill(3).addHead().fill(2)
	killed.add(start(3))
	r := verify(t, checkpoint(), killed.fill(2).addHead().lines)
	if !r.Good() || len(r.Chains[0].Doubts) != 1 || r.Chains[0].Doubts[0].After != 5 || r.Chains[0].Doubts[0].Head != 3 {
		t.Errorf("after a kill: %+v %s", r.Chains[0].Doubts, found(r))
	}
	// A sink that shows nothing has what the node did not know of any more.
	fork := newRecord(nodeA).fill(3).addHead()
	at := *fork
	fork.fill(2)
	at.lines = nil
	at.add(start(3))
	r = verify(t, checkpoint(at.head()), append(fork.lines, at.fill(3).addHead().lines...))
	if !r.Good() || r.Chains[0].Abandoned != 2 || r.Chains[0].Proven != 7 {
		t.Errorf("after a fork: %+v %s", r.Chains[0], found(r))
	}
	behind := newRecord(nodeA).fill(3)
	back := *behind
	behind.fill(2).addHead()
	back.lines = nil
	back.add(start(3))
	if r := verify(t, checkpoint(), append(behind.lines, back.lines...)); r.Good() {
		t.Error("a start behind a head went back before it")
	}
}

// TestCheckpoint: what is printed reads back, and every signature counts.
func TestCheckpoint(t *testing.T) {
	cp := checkpoint(newRecord(nodeA).fill(3).head())
	got, err := audit.ParseCheckpoint(cp.JSON())
	if err != nil || !cmp.Equal(got, cp) {
		t.Fatalf("%v\n%s", err, cmp.Diff(got, cp))
	}
	for name, change := range map[string]func(*audit.Checkpoint){
		"voucher":     func(c *audit.Checkpoint) { c.Keys[0].Voucher[0]++ },
		"key":         func(c *audit.Checkpoint) { c.Keys[0].Public[0]++ },
		"signing key": func(c *audit.Checkpoint) { c.SigningKeys[0].Public[0]++ },
		"no keys":     func(c *audit.Checkpoint) { c.Keys = nil },
		"head":        func(c *audit.Checkpoint) { c.Heads[0].Seq++ },
		"domain":      func(c *audit.Checkpoint) { c.Domain[0]++ },
	} {
		c := checkpoint(newRecord(nodeA).fill(3).head())
		if change(c); c.Verify() == nil {
			t.Errorf("another %s verifies", name)
		}
	}
	text := string(cp.JSON())
	for _, bad := range []string{"", "{}", text + "x", strings.Replace(text, `"version": 1`, `"version": 2`, 1),
		strings.Replace(text, `"version": 1`, `"version": 1, "x": 1`, 1), strings.ToUpper(text)} {
		if _, err := audit.ParseCheckpoint([]byte(bad)); err == nil {
			t.Errorf("taken: %.60q", bad)
		}
	}
}

const vectorHash = "7e5f20ed8c2d9d9ecb34ff43a571f78dee0aa6a570d504ae0d2bf3b76e9e7b40"

// full has every member.
var full = audit.Entry{Seq: 9, Node: nodeA, Time: epoch, Epoch: 5, Operation: "Sign", App: kms.AppID{1}, Credential: kms.CredentialID{2},
	Identity: "SGX mrenclave:00", Key: kms.KeyRef{ID: kms.KeyID{3}, Version: 4}, Source: kms.KeyRef{ID: kms.KeyID{5}, Version: 6},
	Name: "alias/\"ö\\\x01\x7f日", Object: "policy 3", Index: 77, Outcome: "denied", Reason: "condition", Recovered: true, For: kms.NodeID{7: 0xab}, Head: 8,
	Counts: []audit.Count{{Name: "stale", N: 1}, {Name: "replayed", N: 2}}, Prev: audit.Hash{1}}

// TestEntryVector pins the format, and that every member is in it.
func TestEntryVector(t *testing.T) {
	const want = `{"seq":9,"node":"0a00000000000000000000000000000000000000000000000000000000000000","time":"2030-01-02T03:04:05.000006Z","epoch":5,"op":"Sign",` +
		`"app":"01000000-0000-0000-0000-000000000000","credential":"02000000-0000-0000-0000-000000000000","identity":"SGX mrenclave:00",` +
		`"key":"03000000-0000-0000-0000-000000000000","version":4,"source":"05000000-0000-0000-0000-000000000000","source_version":6,` +
		`"name":"alias/\"ö\\\u0001\u007f日","object":"policy 3","index":77,"outcome":"denied","reason":"condition","recovered":true,"for_node":"00000000000000ab000000000000000000000000000000000000000000000000","head":8,` +
		`"counts":{"stale":1,"replayed":2},"prev":"0100000000000000000000000000000000000000000000000000000000000000"}`
	line := full.Append(nil)
	if string(line) != want {
		t.Errorf("printed\n%s, want\n%s", line, want)
	}
	got, err := audit.ParseEntry(line)
	if err != nil || !cmp.Equal(got, full) {
		t.Errorf("%v\n%s", err, cmp.Diff(got, full))
	}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the vector has no %s", v.Type().Field(i).Name)
		}
	}
	if sum := audit.Sum(line).String(); sum != vectorHash {
		t.Errorf("hash %s", sum)
	}
}

// TestLong: what is too long is cut, and reads back.
func TestLong(t *testing.T) {
	e := full
	e.Name, e.Reason = strings.Repeat("日", 1000), strings.Repeat("\xff", 1000)
	e.Counts = slices.Repeat([]audit.Count{{Name: strings.Repeat("\x00", 1000), N: 1 << 63}}, 5)
	line := e.Append(nil)
	if got, err := audit.ParseEntry(line); err != nil || len(got.Name) > audit.MaxText || len(got.Reason) > audit.MaxText || got.Name == "" {
		t.Errorf("%v: %d and %d bytes", err, len(got.Name), len(got.Reason))
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(full.Append(nil))
	f.Add(newRecord(nodeA).fill(1).lines[0])
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := audit.ParseEntry(line)
		if err == nil && !bytes.Equal(e.Append(nil), line) {
			t.Errorf("%q prints as %q", line, e.Append(nil))
		}
	})
}

func FuzzParseHead(f *testing.F) {
	h := newRecord(nodeA).fill(1).head()
	f.Add(h.Append(nil))
	f.Fuzz(func(t *testing.T, line []byte) {
		h, err := audit.ParseHead(line)
		if err == nil && !bytes.Equal(h.Append(nil), line) {
			t.Errorf("%q prints as %q", line, h.Append(nil))
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(checkpoint(newRecord(nodeA).fill(3).head()).JSON())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := audit.ParseCheckpoint(b)
		if err != nil {
			return
		}
		if again, err := audit.ParseCheckpoint(c.JSON()); err != nil || !cmp.Equal(again, c) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzVerify: whatever a file holds, it is read to its end, and what is taken for
// proven has no hole that was not found.
func FuzzVerify(f *testing.F) {
	r := newRecord(nodeA).fill(4).addHead().fill(2).addHead()
	f.Add(bytes.Join(r.lines, []byte("\n")))
	cp := checkpoint(r.head())
	f.Fuzz(func(t *testing.T, b []byte) {
		v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
		if err := v.Read("f", bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if got := v.Report(); got.Good() && (len(got.Chains) == 0 || got.Chains[0].Proven < 6) {
			t.Errorf("good without the entries that the checkpoint proves: %+v", got)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	e := full
	e.Name, e.Counts = "", nil
	buf := make([]byte, 0, 1024)
	for b.Loop() {
		buf = e.Append(buf[:0])
		_ = audit.Sum(buf)
	}
	b.SetBytes(int64(len(buf)))
}

// BenchmarkVerify is the rate of `holdfast audit verify`, on one processor.
func BenchmarkVerify(b *testing.B) {
	const n = 20_000
	r := newRecord(nodeA)
	for range n / 1000 {
		r.fill(1000).addHead()
	}
	text := append(bytes.Join(r.lines, []byte("\n")), '\n')
	cp := checkpoint(r.head())
	for b.Loop() {
		v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
		if err := v.Read("f", bytes.NewReader(text)); err != nil || !v.Report().Good() {
			b.Fatal("does not verify")
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "entries/s")
}
