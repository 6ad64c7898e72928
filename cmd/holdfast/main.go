// Command holdfast is what a person runs: a whole domain to try out, an app's
// keys, encryption and signatures, sealed files, and a load generator.
//
// A result goes to standard output, everything else to standard error. The exit
// status is 0; 1 where something went wrong, or a signature, MAC or evidence is not valid;
// 2 where the command line makes no sense; 3 where open or seal wrote a part to
// standard output and failed then: what open wrote is genuine, but not all. With
// --json a result is one JSON document, and so is an error.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the program even if the first one is not listened to.
	context.AfterFunc(ctx, stop)
	status := run(os.Args[1:], &session{
		ctx:    ctx,
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv,
	})
	stop()
	os.Exit(status)
}
