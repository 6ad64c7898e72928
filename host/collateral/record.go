package collateral

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// recordVersion is that of records, and of bundles.
const recordVersion = 1

// A record is an answer as it is kept: byte for byte, so that it is read like
// a new one and nothing that was derived from it is believed.
type record struct {
	Version int       `json:"version"`
	Name    string    `json:"item"`
	Body    []byte    `json:"body"`
	Chain   string    `json:"chain,omitzero"`
	Fetched time.Time `json:"fetched"`
}

func recordOf(name string, a *answer) record {
	return record{Version: recordVersion, Name: name, Body: a.body, Chain: a.chain, Fetched: a.at.UTC()}
}

func (r record) said() said { return said{body: r.Body, chain: r.Chain, at: r.Fetched} }

// maxRecord bounds a file of the cache: an answer of the greatest length, and
// its chain.
const maxRecord = 4 << 20

// parseRecord reads a file of the cache.
func parseRecord(b []byte) (record, error) {
	var r record
	if len(b) > maxRecord {
		return record{}, kms.Errorf(kms.Damaged, "more than %d bytes", maxRecord)
	}
	if err := json.Unmarshal(b, &r, json.RejectUnknownMembers(true)); err != nil {
		return record{}, kms.Errorf(kms.Damaged, "%w", err)
	}
	if r.Version != recordVersion {
		return record{}, kms.Errorf(kms.Damaged, "version %d", r.Version)
	}
	return r, nil
}

// A bundleFile is many records in one file.
type bundleFile struct {
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	Until   time.Time `json:"until"` // the first end of anything in it
	Records []record  `json:"records"`
}

// MaxBundle bounds what is read.
const MaxBundle = 64 << 20

func parseBundle(b []byte) (map[string]record, error) {
	const hint = "make it again with `holdfast collateral bundle`"
	if len(b) > MaxBundle {
		return nil, kms.Errorf(kms.Invalid, "the bundle has more than %d bytes", MaxBundle).WithHint(hint)
	}
	var f bundleFile
	if err := json.Unmarshal(b, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, kms.Errorf(kms.Invalid, "reading the bundle: %w", err).WithHint(hint)
	}
	if f.Version != recordVersion {
		return nil, kms.Errorf(kms.Invalid, "the bundle has version %d, and this program reads %d", f.Version, recordVersion).WithHint(hint)
	}
	all := make(map[string]record, len(f.Records))
	for _, r := range f.Records {
		if _, twice := all[r.Name]; twice || r.Name == "" || r.Version != recordVersion {
			return nil, kms.Errorf(kms.Invalid, "the bundle has a record %q that is there twice or makes no sense", r.Name).WithHint(hint)
		}
		all[r.Name] = r
	}
	return all, nil
}

// Bundle is one file with the collateral for all of these platforms, for
// Config.Bundle where there is no network; until is the first end of anything
// in it. It serves any evidence of these platforms: for another quote, program
// or nonce nothing else is needed, but for other SNP firmware it is.
func (c *Client) Bundle(ctx context.Context, platforms []attest.Evidence) (bundle []byte, until time.Time, err error) {
	f := bundleFile{Version: recordVersion, Made: c.cfg.Now().UTC()}
	there := map[string]bool{}
	for _, ev := range platforms {
		p, made, err := c.assembled(ctx, ev)
		if err != nil {
			return nil, time.Time{}, err
		}
		for i, a := range made.answers {
			if name := p.entries[i].item.name; !there[name] {
				there[name] = true
				f.add(name, a)
			}
		}
	}
	bundle, err = json.Marshal(f)
	return bundle, f.Until, err
}

func (f *bundleFile) add(name string, a *answer) {
	f.Records = append(f.Records, recordOf(name, a))
	if f.Until.IsZero() || a.until.Before(f.Until) {
		f.Until = a.until.UTC()
	}
}
