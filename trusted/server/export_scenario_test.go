package server

import "time"

// Maintain has the node look at once after the life of master secrets, as it does
// every minute by itself.
func (n *Node) Maintain() { n.generations.nudge() }

// DomainTime is the domain's time as this node knows it.
func (n *Node) DomainTime() time.Time { return n.machine.View().Time() }
