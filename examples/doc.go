// Package examples holds demo runtimes: confidential programs that get their keys
// from a domain because its policy names them. What they do is shown by the tests
// beside this file, on simulated machines:
//
//	go test -v ./examples/...
package examples
