package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/replay"
)

// snapshotFormat is the version of the stream of records.
const snapshotFormat = 1

// maxRecord bounds one record: a bucket of requests is the largest.
const maxRecord = 1 + 16*replayLimit + 64

// A Snapshot is a picture of the Machine to be written while it goes on.
type Snapshot struct {
	view *View
	seen []replay.Bucket
	done []doneEntry
}

// Snapshot takes a picture. It copies what is not copy-on-write: some 16 bytes
// for each remembered request.
func (m *Machine) Snapshot() *Snapshot {
	m.Publish()
	return &Snapshot{view: m.View(), seen: m.replay.Buckets(), done: m.done.all()}
}

// Write writes the snapshot as records, each with its length in front.
func (s *Snapshot) Write(w io.Writer) error {
	out := &recordWriter{w: bufio.NewWriterSize(w, 1<<14)}
	v := s.view
	out.put(&command.Record{Kind: &command.Record_Header{Header: v.header(v.replayFloor)}})
	v.writePast(out)
	v.writeEphemerals(out)
	v.apps.Scan(func(_ string, a *App) bool {
		return out.put(&command.Record{Kind: &command.Record_App{App: &command.App{Id: a.ID[:], Created: a.Created}}})
	})
	v.credentials.Scan(func(_ string, c *Credential) bool {
		return out.put(&command.Record{Kind: &command.Record_Credential{Credential: c.Proto()}})
	})
	v.admissions.Scan(func(_ string, a *Admission) bool {
		return out.put(&command.Record{Kind: &command.Record_Admission{Admission: a.proto()}})
	})
	v.keys.Scan(func(k *Key) bool {
		return out.put(&command.Record{Kind: &command.Record_Key{Key: k.Proto()}})
	})
	v.aliases.Scan(func(_ string, a *Alias) bool {
		return out.put(&command.Record{Kind: &command.Record_Alias{Alias: a.proto()}})
	})
	v.writeSecrets(out)
	v.quotePolicies.Scan(func(_ string, q *quotePolicy) bool {
		return out.put(&command.Record{Kind: &command.Record_QuotePolicy{QuotePolicy: q.proto()}})
	})
	v.writeOrders(out)
	v.writeAudit(out)
	v.writeNodes(out)
	v.writeRemoved(out)
	v.writeRecoveries(out)
	s.writeRequests(out)
	out.put(&command.Record{Kind: &command.Record_End{End: &command.End{Records: out.n}}})
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

func (v *View) header(replayFloor int64) *command.Header {
	h := &command.Header{Format: snapshotFormat, Index: v.index, Time: v.time, Revision: v.revision, ReplayFloor: replayFloor}
	if v.founding != nil {
		h.Found = v.founding.proto(v.feature)
	}
	v.putRule(h)
	v.putGenerations(h)
	v.putEpochs(h)
	v.putMembers(h)
	v.putCheckpoints(h)
	v.putHead(h)
	return h
}

func (s *Snapshot) writeRequests(out *recordWriter) {
	for _, b := range s.seen {
		macs := make([]byte, 0, len(b.Marks)*len(replay.Mark{}))
		for _, m := range b.Marks {
			macs = append(macs, m[:]...)
		}
		out.put(&command.Record{Kind: &command.Record_Seen{Seen: &command.Seen{Second: b.Second, Macs: macs}}})
	}
	for _, d := range s.done {
		p := &command.Done{Id: d.id[:], Index: d.index, Key: d.key[:]}
		if d.refused {
			p.Kind = 1 + uint32(d.kind)
		}
		out.put(&command.Record{Kind: &command.Record_Done{Done: p}})
	}
}

type recordWriter struct {
	w   *bufio.Writer
	buf []byte
	n   uint64
	err error
}

func (o *recordWriter) put(r *command.Record) bool {
	if o.err != nil {
		return false
	}
	o.buf, o.err = proto.MarshalOptions{}.MarshalAppend(o.buf[:0], r)
	if o.err != nil {
		return false
	}
	var length [binary.MaxVarintLen64]byte
	if _, o.err = o.w.Write(length[:binary.PutUvarint(length[:], uint64(len(o.buf)))]); o.err != nil {
		return false
	}
	_, o.err = o.w.Write(o.buf)
	o.n++
	return o.err == nil
}

// Restore replaces the state by a snapshot. On error the Machine is stopped.
// The error is Damaged, or that of the reader.
func (m *Machine) Restore(r io.Reader) error {
	m.reset()
	err := m.restore(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		m.stop(kms.Errorf(kms.Damaged, "snapshot does not restore: %w", err))
		return err
	}
	m.Publish()
	return nil
}

func (m *Machine) restore(in *bufio.Reader) error {
	var buf []byte
	for n := uint64(0); ; n++ {
		length, err := binary.ReadUvarint(in)
		if err != nil {
			return unexpected(err)
		}
		if length > maxRecord {
			return malformed("snapshot record")
		}
		if uint64(cap(buf)) < length {
			buf = make([]byte, length)
		}
		buf = buf[:length]
		if _, err := io.ReadFull(in, buf); err != nil {
			return unexpected(err)
		}
		var rec command.Record
		if err := proto.Unmarshal(buf, &rec); err != nil {
			return malformed("snapshot record")
		}
		if (n == 0) != (rec.GetHeader() != nil) {
			return malformed("snapshot header")
		}
		if end := rec.GetEnd(); end != nil {
			return m.finish(in, end, n)
		}
		if err := m.load(&rec); err != nil {
			return err
		}
	}
}

// finish checks that the end says what was read, and that nothing follows.
func (m *Machine) finish(in *bufio.Reader, end *command.End, n uint64) error {
	if end.GetRecords() != n {
		return malformed("snapshot end")
	}
	if m.loading.secret != nil {
		return malformed("snapshot: secret without its versions")
	}
	if err := m.checkPast(); err != nil {
		return err
	}
	if _, err := in.ReadByte(); err != io.EOF {
		if err != nil {
			return err
		}
		return malformed("snapshot end")
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (m *Machine) load(rec *command.Record) error {
	switch r := rec.GetKind().(type) {
	case *command.Record_Header:
		return m.loadHeader(r.Header)
	case *command.Record_App:
		a, err := appFrom(r.App)
		if err != nil {
			return err
		}
		old, _ := m.next.apps.Load(string(a.ID[:]), a)
		count(m, old, a)
	case *command.Record_Credential:
		c, err := credentialFrom(r.Credential)
		if err != nil {
			return err
		}
		old, _ := m.next.credentials.Load(string(c.ID[:]), c)
		count(m, old, c)
		if !m.listCredential(c) {
			return malformed("snapshot: credential of no app")
		}
	case *command.Record_Admission:
		a, err := admissionFrom(r.Admission)
		if err != nil {
			return err
		}
		old, _ := m.next.admissions.Load(string(a.ID[:]), a)
		count(m, old, a)
	case *command.Record_Key:
		k, err := keyFrom(r.Key)
		if err != nil {
			return err
		}
		old, _ := m.next.keys.Load(k) // in order, so Load appends
		m.next.byApp.Set(k)
		m.next.countKey(k.App, 1)
		count(m, old, k)
		if k.Deletion != nil {
			m.next.deletions.Set(dueOf(k), struct{}{})
		}
		m.indexRotation(k)
	case *command.Record_Alias:
		return m.loadAlias(r.Alias)
	case *command.Record_Secret:
		return m.loadSecret(r.Secret)
	case *command.Record_SecretVersion:
		return m.loadSecretVersion(r.SecretVersion)
	case *command.Record_QuotePolicy:
		q, err := quotePolicyFrom(r.QuotePolicy)
		if err != nil {
			return err
		}
		m.addQuotePolicy(q)
	case *command.Record_PastPolicy:
		return m.loadPast(r.PastPolicy)
	case *command.Record_Ephemeral:
		return m.loadEphemeral(r.Ephemeral)
	case *command.Record_SpentOrder:
		return m.loadOrder(r.SpentOrder)
	case *command.Record_AuditChain:
		return m.loadAuditChain(r.AuditChain)
	case *command.Record_AuditKey:
		return m.loadAuditKey(r.AuditKey)
	case *command.Record_Node:
		return m.loadNode(r.Node)
	case *command.Record_RemovedNode:
		return m.loadRemoved(r.RemovedNode)
	case *command.Record_PastRecovery:
		return m.loadRecovery(r.PastRecovery)
	case *command.Record_Seen:
		return m.loadSeen(r.Seen)
	case *command.Record_Done:
		return m.loadDone(r.Done)
	default:
		return malformed("snapshot record")
	}
	return nil
}

func (m *Machine) loadHeader(h *command.Header) error {
	if h.GetFormat() != snapshotFormat {
		return kms.Errorf(kms.Damaged, "snapshot has format %d, this program reads %d", h.GetFormat(), snapshotFormat)
	}
	m.next.index, m.next.time, m.next.revision = h.GetIndex(), h.GetTime(), h.GetRevision()
	m.replay = replay.NewTable(replayLimit, h.GetReplayFloor())
	if err := errors.Join(m.loadMembers(h), m.loadCheckpoints(h), m.loadHead(h)); err != nil {
		return err
	}
	if p := h.GetFound(); p != nil {
		if p.GetFeatureLevel() == 0 || p.GetFeatureLevel() > m.known {
			return kms.Errorf(kms.Damaged, "snapshot has feature level %d, this program knows %d", p.GetFeatureLevel(), m.known)
		}
		f, err := foundingFrom(p)
		if err != nil {
			return err
		}
		m.next.founding, m.next.feature = f, p.GetFeatureLevel()
		if err := m.loadRule(h); err != nil {
			return err
		}
		if err := m.loadGenerations(h); err != nil {
			return err
		}
		if err := m.loadEpochs(h); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) loadSeen(s *command.Seen) error {
	const size = len(replay.Mark{})
	macs := s.GetMacs()
	if len(macs)%size != 0 {
		return malformed("snapshot record")
	}
	b := replay.Bucket{Second: s.GetSecond(), Marks: make([]replay.Mark, len(macs)/size)}
	for i := range b.Marks {
		copy(b.Marks[i][:], macs[i*size:])
	}
	m.replay.Load(b)
	return nil
}

func (m *Machine) loadDone(p *command.Done) error {
	d := doneEntry{index: p.GetIndex()}
	if !fill(d.id[:], p.GetId()) || !fill(d.key[:], p.GetKey()) {
		return malformed("snapshot record")
	}
	if k := p.GetKind(); k > 0 {
		d.refused, d.kind = true, kms.Kind(k-1)
	}
	m.done.add(d)
	return nil
}
