// Command holdfastd is the measured server: a node of a domain, inside a TEE.
// It finds the TEE that it runs in and refuses to start without one; there is
// no flag for a simulated one, and none that says where the TEE's devices are.
//
// It is set up by its command line and the file that this names with --config; a
// Gramine manifest fixes the line, a virtual machine's image measures it; the
// environment is dropped. Nothing of it
// has to be trusted all the same: charter, bootstrap and policy are verified,
// the folder holds sealed state, and collateral is verified like evidence.
//
// It logs to standard error, one JSON object a line. The exit status is 0 where
// it was asked to end; 1 where it could not start or go on; 2 where the command
// line makes no sense.
package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-kms/holdfast/host/harden"
	"github.com/holdfast-kms/holdfast/host/heap"
)

// heapFloor is a few times what a node allocates in a tenth of a second under load.
const heapFloor = 64 << 20

func main() {
	os.Clearenv()             // before anything asks for a proxy or a folder of roots
	log.SetOutput(io.Discard) // net/http prints requests there if GODEBUG, which is read earlier, says so
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program even if the first is not listened to
	var level slog.LevelVar
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: &level}))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // also where nothing can be reloaded: it ends no node
	if err := harden.Process(); err != nil {
		os.Exit(fail(logger, err))
	}
	release := heap.Floor(heapFloor)
	status := run(ctx, os.Args[1:], os.Stdout, node{log: logger, reloading: reloading{hup: hup, level: &level}})
	release()
	stop()
	os.Exit(status)
}
