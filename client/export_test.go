package client

// ParsePublicKey is tested with bytes that no node sends.
var ParsePublicKey = parsePublicKey
