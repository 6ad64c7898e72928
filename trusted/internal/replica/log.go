package replica

import (
	"context"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// newLogger gives raft a logger whose lines go to ours. Raft logs indices,
// terms and node ids, never the data of an entry; only warnings and worse are
// passed on.
func newLogger(to *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: lines{to}, DisableTime: true})
}

// lines is a writer that logs each line that is written to it.
type lines struct{ to *slog.Logger }

func (l lines) Write(p []byte) (int, error) {
	line, level := strings.TrimSpace(string(p)), slog.LevelWarn
	if strings.Contains(line, "use of closed network connection") || strings.Contains(line, "transport shutdown") {
		level = slog.LevelDebug // a channel was closed in order
	}
	l.to.Log(context.Background(), level, "raft", "line", line)
	return len(p), nil
}
