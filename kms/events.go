package kms

import (
	"fmt"
	"math"
	"time"
)

// An EventKind says what happened.
type EventKind uint8

// The kinds of events. Those of the domain are for anyone; those of an app are
// for that app alone; those of a node are about the one that is asked.
const (
	EventDomainFounded      EventKind = 1 + iota // Number: 1, the policy's serial
	EventPolicyScheduled                         // Number: its serial; At: when it comes into force
	EventPolicyActivated                         // Number: its serial, from now on in force
	EventPolicyDropped                           // Number: the serial of a scheduled one that an amendment made void
	EventCharterAmended                          // Number: how many amendments there are
	EventGenerationAccepted                      // Number: the generation, from now on the newest
	EventGenerationRetired                       // Number: the generation, that nothing opens any more
	EventRotationProgress                        // Number: the share of the keys that the re-wrapping after a rotation has gone through, in percent
	EventEphemeralPublished                      // Number: the epoch that has its secret
	EventAppEnrolled                             // Number: how many apps there are
	EventOtherChange                             // something that this program has no word for

	EventKeyCreated  // Number: its first version; 0: it waits for its material
	EventKeyImported // Number: the version
	EventKeyRotated  // Number: the new version
	EventKeyEnabled
	EventKeyDisabled
	EventKeyStateChanged   // to a state that has no event of its own
	EventKeyVersionChanged // a version that is not current was enabled, disabled or destroyed
	EventKeyConditionChanged
	EventKeyLabelsChanged     // description or tags
	EventKeyDeletionScheduled // At: when it is due
	EventKeyDeletionCancelled
	EventKeyDeleted
	EventKeysDeleted // Number: how many; the app had all its keys deleted
	EventAliasSet    // Alias names Key
	EventAliasDeleted
	EventCredentialCreated
	EventCredentialChanged // At: when it ends
	EventCredentialRevoked
	EventQuotePolicyStored
	EventSecretCreated           // Secret
	EventSecretVersionPut        // Number: the version
	EventSecretPromoted          // Number: the version that is current now
	EventSecretVersionDestroyed  // Number: the version
	EventSecretChanged           // description, interval or labels
	EventSecretKeyChanged        // another key protects it
	EventSecretRotationDue       // At: since when; Number: the current version, which is to be replaced
	EventSecretDeletionScheduled // At: when it is due
	EventSecretRestored
	EventSecretDeleted

	EventNodeRefuses // Reason: why this node serves nobody
	EventNodeServes  // it serves again

	// Of the domain; Node says which node they are about.
	EventNodeWaiting   // it asks to join and waits for an operator's approval
	EventNodeApproved  // an operator's approval admitted it
	EventNodeAdmitted  // it was admitted without one
	EventNodeJoined    // it votes from now on
	EventNodeLeft      // Reason: drained or replaced
	EventNodeEvicted   // Reason: why it was removed
	EventFeatureRaised // Number: the domain's feature level from now on
	EventTimeJumped    // domain time went on by more than a minute at once; Number: by how many seconds

	EventBackupMade      // Number: the generation that it is encrypted under
	EventDomainRecovered // Node: the one that carries on; Number: how many recoveries there were
	EventRecoveryDealt   // Number: how many shares of the recovery key there are now

	EventGenerationCompromised // Number: the generation; At: from when on credentials that were wrapped under it are refused
	EventAuthorityReplaced     // the certificate authority is another one: clients ask for trust again

	// EventNodeRefused: a member refused Node (zero: it did not prove who it is), which
	// wanted to join, or handed over what is none of the domain's. Reason: one of
	// attest's, or a Refusal; Number: how many it refused before without telling.
	EventNodeRefused

	eventKindEnd
)

var eventKindNames = [...]string{
	EventDomainFounded: "domain_founded", EventPolicyScheduled: "policy_scheduled", EventPolicyActivated: "policy_activated", EventPolicyDropped: "policy_dropped",
	EventCharterAmended: "charter_amended", EventGenerationAccepted: "generation_accepted", EventGenerationRetired: "generation_retired",
	EventRotationProgress: "rotation_progress", EventEphemeralPublished: "ephemeral_published", EventAppEnrolled: "app_enrolled", EventOtherChange: "other_change",

	EventKeyCreated: "key_created", EventKeyImported: "key_imported", EventKeyRotated: "key_rotated", EventKeyEnabled: "key_enabled", EventKeyDisabled: "key_disabled",
	EventKeyStateChanged: "key_state_changed", EventKeyVersionChanged: "key_version_changed", EventKeyConditionChanged: "key_condition_changed",
	EventKeyLabelsChanged: "key_labels_changed", EventKeyDeletionScheduled: "key_deletion_scheduled", EventKeyDeletionCancelled: "key_deletion_cancelled",
	EventKeyDeleted: "key_deleted", EventKeysDeleted: "keys_deleted", EventAliasSet: "alias_set", EventAliasDeleted: "alias_deleted",
	EventCredentialCreated: "credential_created", EventCredentialChanged: "credential_changed", EventCredentialRevoked: "credential_revoked",
	EventQuotePolicyStored: "quote_policy_stored",
	EventSecretCreated:     "secret_created", EventSecretVersionPut: "secret_version_put", EventSecretPromoted: "secret_promoted",
	EventSecretVersionDestroyed: "secret_version_destroyed", EventSecretChanged: "secret_changed", EventSecretKeyChanged: "secret_key_changed",
	EventSecretRotationDue: "secret_rotation_due", EventSecretDeletionScheduled: "secret_deletion_scheduled", EventSecretRestored: "secret_restored",
	EventSecretDeleted: "secret_deleted",

	EventNodeRefuses: "node_refuses", EventNodeServes: "node_serves",

	EventNodeWaiting: "node_waiting", EventNodeApproved: "node_approved", EventNodeAdmitted: "node_admitted", EventNodeJoined: "node_joined",
	EventNodeLeft: "node_left", EventNodeEvicted: "node_evicted", EventFeatureRaised: "feature_raised", EventTimeJumped: "time_jumped",

	EventBackupMade: "backup_made", EventDomainRecovered: "domain_recovered", EventRecoveryDealt: "recovery_dealt",

	EventGenerationCompromised: "generation_compromised", EventAuthorityReplaced: "authority_replaced",

	EventNodeRefused: "node_refused",
}

// EventKinds lists every kind, for tables that must be exhaustive.
func EventKinds() []EventKind {
	all := make([]EventKind, 0, eventKindEnd-1)
	for k := EventDomainFounded; k < eventKindEnd; k++ {
		all = append(all, k)
	}
	return all
}

// Valid reports whether there is such a kind.
func (k EventKind) Valid() bool { return k > 0 && k < eventKindEnd }

// String is the kind's name, "key_created".
func (k EventKind) String() string {
	if k.Valid() {
		return eventKindNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// ParseEventKind finds a kind by its name.
func ParseEventKind(name string) (EventKind, bool) {
	for k := EventDomainFounded; k < eventKindEnd; k++ {
		if eventKindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// A Position is a place in a domain's history: the entry of the log, and which
// of the events of that entry that the reader may see. Positions of one domain
// are the same on every node and after every restart.
type Position struct {
	Index uint64
	Sub   uint32 // from 0
}

// WholeEntry is the Sub of a position behind every event of an entry.
const WholeEntry uint32 = math.MaxUint32

// After is the position behind everything up to and with an entry of the log.
func After(index uint64) Position { return Position{index, WholeEntry} }

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.Index < q.Index || p.Index == q.Index && p.Sub < q.Sub
}

// An Event is something that happened. It names its subject and holds nothing
// secret, and nothing that was sent.
type Event struct {
	Position           // zero for events of a node, which are in no log
	Time     time.Time // domain time
	Kind     EventKind

	App        AppID // zero: an event of the domain or of a node
	Key        KeyID
	Credential CredentialID
	Alias      string
	Secret     SecretName
	Node       NodeID
	Number     uint64    // what the kind counts
	At         time.Time // what the kind dates
	Reason     string    // of a node that refuses, or that was removed or refused
}

// A WatchRequest says from where on events are wanted.
type WatchRequest struct {
	// After is behind which position. Zero: from now on.
	After Position
	// Earliest begins with the earliest event that is kept. After must be zero.
	Earliest bool
	// UntilNow ends the stream when everything up to its beginning was sent.
	UntilNow bool
}

// Events are the next ones of a stream. There may be none of them: then they say
// how far the reader has come, and that the node is there.
type Events struct {
	Events []Event // at most MaxEventBatch
	// At is the position that all of these, and all before them, lie at or before:
	// what to resume after.
	At Position
}

// MaxEventBatch is how many events come at once.
const MaxEventBatch = 256
