package main

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// eventsCmd is `holdfast events`.
type eventsCmd struct {
	Follow bool     `short:"f" help:"Go on with what happens, until Ctrl-C. Without --since, show only that."`
	Since  position `placeholder:"INDEX" help:"Only what came after this entry of the log, or after this event, INDEX.SUB. Without it, all that the node keeps."`

	connection
}

// position is a place in the log on the command line.
type position kms.Position

// UnmarshalText reads INDEX or INDEX.SUB.
func (p *position) UnmarshalText(b []byte) error {
	index, sub, exact := strings.Cut(string(b), ".")
	n, err := strconv.ParseUint(index, 10, 64)
	at := kms.After(n)
	if err == nil && exact {
		var part uint64
		part, err = strconv.ParseUint(sub, 10, 32)
		at.Sub = uint32(part)
	}
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no place in the log; one looks like 812 or 812.3", b)
	}
	*p = position(at)
	return nil
}

// eventDoc is an event in JSON: one document a line.
type eventDoc struct {
	Index      uint64            `json:"index,omitempty"`
	Sub        *uint32           `json:"sub,omitempty"`
	Time       time.Time         `json:"time"`
	Kind       string            `json:"kind"`
	Key        *kms.KeyID        `json:"key_id,omitempty"`
	Credential *kms.CredentialID `json:"credential_id,omitempty"`
	Alias      string            `json:"alias,omitempty"`
	Secret     kms.SecretName    `json:"secret,omitempty"`
	Node       kms.NodeID        `json:"node_id,omitzero"`
	Number     uint64            `json:"number,omitempty"`
	At         time.Time         `json:"at,omitzero"`
	Reason     string            `json:"reason,omitempty"`
	Text       string            `json:"text"`
}

func eventDocOf(e kms.Event) eventDoc {
	d := eventDoc{Index: e.Index, Time: e.Time.UTC(), Kind: e.Kind.String(), Alias: e.Alias, Secret: e.Secret, Node: e.Node, Number: e.Number, At: e.At, Reason: e.Reason, Text: eventText(e)}
	if e.Index != 0 {
		d.Sub = &e.Sub
	}
	if e.Key != (kms.KeyID{}) {
		d.Key = &e.Key
	}
	if e.Credential != (kms.CredentialID{}) {
		d.Credential = &e.Credential
	}
	return d
}

// Run shows events. Without a credential they are those of the domain.
func (c *eventsCmd) Run(s *session) error {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	r := kms.WatchRequest{After: kms.Position(c.Since), UntilNow: !c.Follow}
	r.Earliest = r.UntilNow && r.After == kms.Position{}
	for e, err := range cl.Events(s.ctx, r) {
		if s.ctx.Err() != nil { // Ctrl-C is how this ends
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.showEvent(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) showEvent(e kms.Event) error {
	if s.json {
		return s.encode(s.stdout, eventDocOf(e))
	}
	place := "-"
	if e.Index != 0 {
		place = fmt.Sprintf("%d.%d", e.Index, e.Sub)
	}
	_, err := fmt.Fprintf(s.stdout, "%s  %-8s  %s\n", e.Time.UTC().Format(time.RFC3339), place, eventText(e))
	return err
}

// eventTexts say what happened. %n is the number, %k the key, %c the credential,
// %a the alias, %s the secret, %d the node, %t the time, %r the reason.
var eventTexts = map[kms.EventKind]string{
	kms.EventDomainFounded: "domain founded under policy %n", kms.EventPolicyScheduled: "policy %n will come into force at %t",
	kms.EventPolicyActivated: "policy %n is in force", kms.EventPolicyDropped: "policy %n is void: those who signed it rule no more",
	kms.EventCharterAmended: "charter amended, for the %n. time", kms.EventGenerationAccepted: "master secret: generation %n is in use",
	kms.EventGenerationRetired: "master secret: generation %n is retired", kms.EventRotationProgress: "re-wrapping has gone through %n % of the keys",
	kms.EventEphemeralPublished: "secret of epoch %n published", kms.EventAppEnrolled: "app enrolled: there are %n",
	kms.EventOtherChange: "something that this program has no word for",
	kms.EventKeyCreated:  "key %k created", kms.EventKeyImported: "key %k imported, version %n", kms.EventKeyRotated: "key %k rotated to version %n",
	kms.EventKeyEnabled: "key %k enabled", kms.EventKeyDisabled: "key %k disabled", kms.EventKeyStateChanged: "key %k changed its state",
	kms.EventKeyVersionChanged: "version %n of key %k changed its state", kms.EventKeyConditionChanged: "condition of key %k changed",
	kms.EventKeyLabelsChanged: "description or tags of key %k changed", kms.EventKeyDeletionScheduled: "key %k will be deleted at %t",
	kms.EventKeyDeletionCancelled: "deletion of key %k cancelled", kms.EventKeyDeleted: "key %k deleted", kms.EventKeysDeleted: "all %n keys deleted",
	kms.EventAliasSet: "%a names key %k", kms.EventAliasDeleted: "%a deleted",
	kms.EventCredentialCreated: "credential %c created", kms.EventCredentialChanged: "credential %c ends at %t", kms.EventCredentialRevoked: "credential %c revoked",
	kms.EventQuotePolicyStored: "quote policy stored",
	kms.EventSecretCreated:     "secret %s created", kms.EventSecretVersionPut: "secret %s has version %n", kms.EventSecretPromoted: "version %n of secret %s is current",
	kms.EventSecretVersionDestroyed: "version %n of secret %s destroyed", kms.EventSecretChanged: "description, interval or labels of secret %s changed",
	kms.EventSecretKeyChanged: "another key protects secret %s", kms.EventSecretRotationDue: "secret %s is to get a new value, since %t",
	kms.EventSecretDeletionScheduled: "secret %s will be deleted at %t", kms.EventSecretRestored: "secret %s restored", kms.EventSecretDeleted: "secret %s deleted",
	kms.EventGenerationCompromised: "master secret: generation %n is compromised, credentials of its time are refused from %t",
	kms.EventAuthorityReplaced:     "the certificate authority was replaced: ask for trust again",
	kms.EventNodeRefuses:           "this node refuses to serve: %r", kms.EventNodeServes: "this node serves",
	kms.EventNodeWaiting: "node %d waits for an operator's approval", kms.EventNodeApproved: "node %d admitted by an operator's approval",
	kms.EventNodeAdmitted: "node %d admitted", kms.EventNodeJoined: "node %d votes", kms.EventNodeLeft: "node %d has left: %r",
	kms.EventNodeEvicted: "node %d removed: %r", kms.EventFeatureRaised: "the domain is at feature level %n",
	kms.EventTimeJumped: "domain time went on by %n s at once",
	kms.EventBackupMade: "a backup was made", kms.EventDomainRecovered: "the domain was revived on node %d", kms.EventRecoveryDealt: "shares of a recovery key were dealt",
}

func eventText(e kms.Event) string {
	if e.Kind == kms.EventNodeRefused {
		return refusalText(e)
	}
	return strings.NewReplacer("%n", strconv.FormatUint(e.Number, 10), "%k", e.Key.String(), "%c", e.Credential.String(),
		"%a", oneLine(e.Alias), "%s", nameText(e.Secret), "%d", e.Node.String(), "%t", timeText(e.At), "%r", oneLine(e.Reason)).Replace(eventTexts[e.Kind])
}

// refusalText says why a node was refused: the reason is one of attest's, a
// kms.Refusal, or of a newer program.
func refusalText(e kms.Event) string {
	who, why := "node "+e.Node.String(), kms.Refusal(e.Reason).Text()
	if e.Node == (kms.NodeID{}) {
		who = "an unknown node"
	}
	if why == "" {
		why = attest.Reason(e.Reason).Error()
	}
	text := who + " refused: " + oneLine(why)
	if e.Number > 0 {
		text += fmt.Sprintf(" (and %d more, not told)", e.Number)
	}
	return text
}

// watchStatus shows the status, and then what changes in it.
func watchStatus(s *session, cl *client.Client) error {
	var last kms.Status
	for st, err := range cl.WatchStatus(s.ctx) {
		if s.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if last.Domain != "" && reflect.DeepEqual(still(st), still(last)) {
			continue
		}
		if err := s.show(st, func(w io.Writer) { printStatus(w, st); fmt.Fprintln(w) }); err != nil {
			return err
		}
		last = st
	}
	return nil
}

// still is a status without the readings that move by themselves.
func still(st kms.Status) kms.Status {
	st.DomainTime, st.Index, st.ReplayAge, st.Attestation = time.Time{}, 0, "", ""
	return st
}
