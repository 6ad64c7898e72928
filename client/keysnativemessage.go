package client

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// keyDescription reads a key. A spec or a state that this SDK does not know is
// zero: the rest is still true.
func (c *Client) keyDescription(m *holdfastv1.Key) (d kms.KeyDescription, err error) {
	if d.ID, err = kms.ParseKeyID(m.GetId()); err != nil {
		return d, err
	}
	d.App, d.Exportable, d.Revision, d.Conditioned = c.app, m.GetExportable(), m.GetRevision(), m.GetConditioned()
	d.Spec, _ = kms.ParseSpec(m.GetSpec())
	d.State, _ = kms.ParseKeyState(m.GetState())
	d.Origin, _ = kms.ParseOrigin(m.GetOrigin())
	d.Usages, _ = kms.ParseUsages(m.GetUsages())
	d.Created, d.Expires, d.Due = timeOf(m.GetCreated()), timeOf(m.GetExpires()), timeOf(m.GetDeletion())
	d.Current = kms.KeyVersion(m.GetCurrentVersion())
	for _, v := range m.GetVersions() {
		state, _ := kms.ParseVersionState(v.GetState())
		d.Versions = append(d.Versions, kms.KeyVersion(v.GetNumber()))
		d.Details = append(d.Details, kms.KeyVersionInfo{Number: kms.KeyVersion(v.GetNumber()), State: state, Created: timeOf(v.GetCreated()),
			Invocations: v.GetInvocations(), Exposed: v.GetExposed()})
	}
	d.RotationPeriod, d.NextRotation, d.LastUsed = kms.RotationDays(m.GetRotationPeriodDays()), timeOf(m.GetNextRotation()), timeOf(m.GetLastUsed())
	for _, w := range m.GetWarnings() {
		d.Warnings = append(d.Warnings, printable(w))
	}
	d.Description = printable(m.GetDescription())
	for _, t := range m.GetTags() {
		d.Tags = append(d.Tags, kms.Tag{Name: printable(t.GetName()), Value: printable(t.GetValue())})
	}
	for _, a := range m.GetAliases() {
		if kms.ValidAlias(a) {
			d.Aliases = append(d.Aliases, a)
		}
	}
	return d, nil
}

func tagMessages(tags []kms.Tag) (out []*holdfastv1.Tag) {
	for _, t := range tags {
		out = append(out, &holdfastv1.Tag{Name: t.Name, Value: t.Value})
	}
	return out
}

// timeOf reads a timestamp; none at all is the zero time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
