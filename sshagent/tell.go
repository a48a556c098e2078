package sshagent

import (
	"log/slog"

	"github.com/latchkey/latchkey/internal/lograte"
)

// A teller bounds what is said of requests that come to nothing: they cost a client
// nothing, and the log lies on the workspace's disk. Those that come from elsewhere
// have a bound of their own, so that they can't hide what was refused here.
type teller struct {
	here, elsewhere lograte.Limit
}

// tell logs what a client can have said as often as it likes.
func (s *session) tell(level slog.Level, message string, facts ...any) {
	limit := &s.server.ready().teller.here
	if s.forwarded() || s.bindFailed {
		limit = &s.server.ready().teller.elsewhere
	}
	limit.Log(s.log, level, message, facts...)
}
