package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// examineProof judges what a node has proved.
func examineProof(e *examination, v *client.Verified, now time.Time) {
	c := v.Claims
	switch {
	case c.Simulated:
		e.warn("attestation", "for anything but a trial found a domain on machines with a TEE", "verified, on a SIMULATED %s, which protects nothing", c.TEE)
	default:
		e.ok("attestation", "verified: %s, a program that policy %d names", c.TEE, v.Policy.Serial)
	}
	switch {
	case c.Status == "" || c.Status == attest.UpToDate:
		e.ok("TCB", "up to date")
	default:
		e.warn("TCB", "bring firmware and microcode up to date; before, see docs/operate.md, TCB recovery: sealed state may not survive it", "%s", strings.Join(append([]string{string(c.Status)}, c.Advisories...), ", "))
	}
	examineEnd(e, "collateral", c.ValidUntil, c.ValidUntil.Sub(c.ValidFrom)/4, now,
		"see that the node's machine reaches the vendor's service or its PCCS, or give it a new bundle and send it SIGHUP")
}

// examineEnd judges how long something still counts.
func examineEnd(e *examination, check string, end time.Time, soon time.Duration, now time.Time, do string) {
	switch {
	case end.IsZero():
	case !now.Before(end):
		e.fail(check, do, "ended %s", timeText(end))
	case now.Add(soon).After(end):
		e.warn(check, do, "ends %s", timeText(end))
	default:
		e.ok(check, "good until %s", timeText(end))
	}
}

// examineStatus judges what a node says of itself and its domain. here is this
// machine's time when it said so.
func examineStatus(e *examination, st kms.Status, here time.Time) {
	if st.Ready {
		e.ok("ready", "it serves")
	} else {
		e.fail("ready", "the reason says what is missing; the node's log says more", "it does not serve: %s", st.Reason)
	}
	if !st.Secure {
		e.warn("secure", "keys that matter belong into a domain that never took a simulated platform", "evidence of a simulated platform was taken, now or once")
	}
	examineSkew(e, "the domain", st.DomainTime, here)
	examineEnd(e, "policy", st.PolicyUntil, policySoon, st.DomainTime, "have the signers sign a policy with a later valid_until: `holdfast policy edit … --valid`")
	examinePeers(e, st)
	examineRecovery(e, st)
	for _, text := range st.Warnings {
		if !told(text) {
			e.warn(subject(text), "", "%s", text)
		}
	}
}

// told are warnings of the node that have findings of their own.
func told(text string) bool {
	for _, start := range []string{"simulated platform", "this domain once admitted", "the policy in force has expired", "two nodes:", "one node and no backup"} {
		if strings.HasPrefix(text, start) {
			return true
		}
	}
	return false
}

// subject is what a warning is about, as far as its beginning says.
func subject(text string) string {
	for start, check := range map[string]string{"audit sink": "audit", "the vendor's collateral": "collateral", "the last examination": "attestation", "mode ": "rollback"} {
		if strings.HasPrefix(text, start) {
			return check
		}
	}
	return "warning"
}

// examinePeers judges the domain's nodes, as the one that was asked sees them.
func examinePeers(e *examination, st kms.Status) {
	serving, waiting := 0, 0
	for _, n := range st.Nodes {
		name := dash(n.Name) + " " + shortNode(n.ID)
		switch {
		case waits(n):
			waiting++
			e.warn("peers", "look at its evidence with `holdfast node list`, then `holdfast node approve` it or let it be: it goes within the hour", "node %s waits for an approval", name)
		case n.Trouble != "":
			e.warn("peers", "see that its machine runs and that the addresses of both are reached; `holdfast doctor --url` on it says more", "node %s: %s", name, n.Trouble)
		case !n.Self && !n.Connected:
			e.warn("peers", "see that its machine runs and that "+n.Socket+" is reached", "node %s: not connected", name)
		case n.Role == kms.RoleVoter:
			serving++
		}
		if !waits(n) && !n.ValidUntil.IsZero() && st.DomainTime.Add(24*time.Hour).After(n.ValidUntil) {
			e.warn("peers", "see that its machine reaches the vendor's service or its PCCS", "the evidence of node %s, of %s, counts until %s", name, timeText(n.Proved), timeText(n.ValidUntil))
		}
	}
	examineQuorum(e, st, serving)
}

func examineQuorum(e *examination, st kms.Status, serving int) {
	spare := serving - (st.Voters/2 + 1)
	nodes := fmt.Sprintf("%d of %d nodes that vote are well", serving, st.Voters)
	switch {
	case len(st.Nodes) == 0:
	case st.Voters > 1 && st.Leader == (kms.NodeID{}):
		e.fail("quorum", "bring back as many nodes as make a majority", "no leader is known; %s", nodes)
	case spare < 0:
		e.fail("quorum", "bring back as many nodes as make a majority", "%s, and it takes %d", nodes, st.Voters/2+1)
	case st.Voters == 1:
		e.warn("quorum", "have two more nodes join: docs/nodes.md", "one node: the domain stops when it does")
	case st.Voters == 2:
		e.warn("quorum", "have a third node join: docs/nodes.md", "two nodes: the domain stops when either does")
	case spare == 0:
		e.warn("quorum", "bring the others back, or have new ones join in their place", "%s: the domain stops when another one does", nodes)
	default:
		e.ok("quorum", "%s", nodes)
	}
}

// backupAge is how old a backup may be before it is worth a warning.
const backupAge = 7 * 24 * time.Hour

// examineRecovery judges what there is when every node is lost.
func examineRecovery(e *examination, st kms.Status) {
	const page = ": docs/recovery.md"
	switch {
	case !st.Recoverable:
		e.warn("recovery", "name recovery keys in the charter, by an amendment"+page, "there are no recovery shares: with its last node the domain is lost, with every key, whatever was backed up")
	default:
		e.ok("recovery", "%d of %d holders of recovery keys can bring the domain back from a backup", st.RecoveryThreshold, st.RecoveryShares)
	}
	switch age := st.DomainTime.Sub(st.LastBackup); {
	case st.LastBackup.IsZero():
		e.warn("backup", "`holdfast domain backup`, and keep it elsewhere"+page, "none was ever made")
	case age > backupAge:
		e.warn("backup", "`holdfast domain backup`, and keep it elsewhere"+page, "the last one is of %s", timeText(st.LastBackup))
	default:
		e.ok("backup", "the last one is of %s", timeText(st.LastBackup))
	}
}

// rewrapTime is how long re-wrapping may take before somebody should look.
const rewrapTime = time.Hour

// examineSecrets judges the generations of the master secret.
func examineSecrets(e *examination, st client.DomainStatus, now time.Time) {
	const check = "master secrets"
	switch {
	case st.Left > 0 && now.Sub(st.LastRotation) > rewrapTime:
		e.warn(check, "see the log of the node that leads; docs/rotation.md", "%d secrets are not re-wrapped under generation %d, which is of %s", st.Left, st.Generation, timeText(st.LastRotation))
	case st.Left > 0:
		e.ok(check, "generation %d; %d secrets are still to be re-wrapped", st.Generation, st.Left)
	case !st.NextAt.IsZero() && now.Sub(st.NextAt) > rewrapTime:
		e.warn(check, "see the log of the node that leads; docs/rotation.md", "the rotation of %s is overdue", timeText(st.NextAt))
	default:
		e.ok(check, "generation %d, everything wrapped under it", st.Generation)
	}
	for _, text := range st.Troubles {
		e.warn(check, "docs/rotation.md", "%s", text)
	}
}
