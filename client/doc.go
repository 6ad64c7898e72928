// Package client is Holdfast's Go SDK: typed calls to a node over HTTPS, in
// eHSM-KMS' REST protocol, with every request signed under an app's API key.
//
// A Client is made once and used by many goroutines; it keeps connections open.
// A request's signature covers what is called, with what and where, a random
// nonce and the time in milliseconds, and it is tied to the TLS connection that
// the request is sent on (package api/signature): whoever sits between two
// connections can pass on nothing. What changes state is sent once; what changes
// nothing is sent again where the network or a node not yet ready was at fault.
//
// Files and streams of any length are encrypted on this side, under a data key
// of their own: Client.Seal and Client.Open.
//
// Every error of a call is an *Error. Ask for its kind with errors.Is and the
// kinds of package kms:
//
//	if errors.Is(err, kms.NotFound) { … }
//
// What an API key is worth: who holds it can use every key of its app. The
// APIKey type therefore does not print, log or marshal.
//
// Client.Keys is the whole key model of the native API: aliases, tags, versions
// and rotation, scheduled deletion, re-encryption.
//
// With Config.Trust each connection is attested before a request is sent on it:
// the node proves that its key lives in a program that the domain's policy names,
// and all that is needed to judge that is the domain's charter. Without it, trust
// in the server rests on Config.CA: on every program that ever held that CA's key.
package client
