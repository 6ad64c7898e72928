package machine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	html "html/template"
	"io/fs"
	"io/ioutil"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	text "text/template"
	. "time"
	clock "time"

	"github.com/hashicorp/raft" // want `no row of Modules`
)

var (
	_ = os.ReadFile            // want `may not use os.ReadFile`
	_ = os.ErrNotExist         // want `may not use os.ErrNotExist`
	_ = (*os.File).Close       // want `may not use os.File.Close` `may not use os.File:`
	_ = exec.Command           // want `may not use os/exec.Command`
	_ = signal.Notify          // want `may not use os/signal.Notify`
	_ = user.Current           // want `may not use os/user.Current`
	_ = syscall.Getpid         // want `may not use syscall.Getpid`
	_ = ioutil.ReadAll         // want `may not use io/ioutil.ReadAll`
	_ = filepath.Glob          // want `may not use path/filepath.Glob`
	_ = text.ParseFiles        // want `may not use text/template.ParseFiles`
	_ = html.ParseGlob         // want `may not use html/template.ParseGlob`
	_ = tls.DialWithDialer     // want `may not use crypto/tls.DialWithDialer`
	_ = x509.SystemCertPool    // want `may not use crypto/x509.SystemCertPool`
	_ = log.Println            // want `may not use log.Println`
	_ = slog.Info              // want `may not use log/slog.Info`
	_ = fmt.Println            // want `may not use fmt.Println`
	_ = pprof.WriteHeapProfile // want `may not use runtime/pprof.WriteHeapProfile`
	_ = debug.WriteHeapDump    // want `may not use runtime/debug.WriteHeapDump`

	_ = net.DialTimeout                // want `may not use net.DialTimeout`
	_ = net.Dialer{}                   // want `may not use net.Dialer`
	_ = net.ListenTCP                  // want `may not use net.ListenTCP`
	_ = net.LookupHost                 // want `may not use net.LookupHost`
	_ = net.ResolveTCPAddr             // want `may not use net.ResolveTCPAddr`
	_ = http.Get                       // want `may not use net/http.Get`
	_ = http.DefaultClient             // want `may not use net/http.DefaultClient`
	_ = (*http.Server).ListenAndServe  // want `may not use net/http.Server.ListenAndServe`
	_ = raft.NewTCPTransportWithConfig // want `may not use github.com/hashicorp/raft.NewTCPTransportWithConfig`
	_ = (*raft.Raft).VerifyLeader      // want `may not use github.com/hashicorp/raft.Raft.VerifyLeader`

	_ = clock.Now       // want `may not use time.Now`
	_ = Since           // want `may not use time.Since`
	_ = clock.Until     // want `may not use time.Until`
	_ = clock.After     // want `may not use time.After`
	_ = clock.AfterFunc // want `may not use time.AfterFunc`
	_ = clock.NewTimer  // want `may not use time.NewTimer`
	_ = clock.NewTicker // want `may not use time.NewTicker`
	_ = clock.Tick      // want `may not use time.Tick`
	_ = Sleep           // want `may not use time.Sleep`
)

func shout() {
	println("key") // want `may not use builtin.println`
}

// What follows touches nothing.
type quiet struct {
	Now      func() Time
	Listener net.Listener
	Dial     func(context.Context, string) (net.Conn, error)
	log      *slog.Logger
}

func (q quiet) serve(ctx context.Context, r *raft.Raft) error {
	ctx, cancel := context.WithTimeout(ctx, 5*Second)
	defer cancel()
	if q.Now().After(Time{}) {
		q.log.Info(fmt.Sprintf("%v", filepath.Join("a", "b")), "error", fs.ErrNotExist)
	}
	if _, err := q.Dial(ctx, "node"); err != nil {
		return r.Barrier()
	}
	server := http.Server{}
	return server.Serve(tls.NewListener(q.Listener, nil))
}
