// This module runs the vectors of Project Wycheproof, 109 MB of them, against
// trusted/internal/alg; the main module's go.mod stays short of them.
//
// It lives under test/ and is named as if it lived under trusted/: the go command
// lets an internal package be imported by the packages whose path begins as that
// of internal's parent, in whatever module they are, and goes by the path alone.
module github.com/holdfast-kms/holdfast/trusted/compat

go 1.26.4

require (
	github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a
	github.com/holdfast-kms/holdfast v0.0.0-00010101000000-000000000000
)

require (
	filippo.io/bigmod v0.1.0 // indirect
	filippo.io/mldsa v1.0.0 // indirect
	github.com/decred/dcrd/dcrec/secp256k1/v4 v4.4.1 // indirect
	github.com/emmansun/gmsm v0.44.1 // indirect
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/holdfast-kms/holdfast => ../..
