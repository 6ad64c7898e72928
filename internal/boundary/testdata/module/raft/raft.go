// Package raft stands for the real one.
package raft

type Raft struct{}

func (*Raft) VerifyLeader() error { return nil }
func (*Raft) Barrier() error      { return nil }

func NewTCPTransportWithConfig() {}
func NewInmemTransport()         {}
