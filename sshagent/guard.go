package sshagent

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
)

var errPanic = errors.New("a bug in the agent: it panicked, and the log says where")

// guard calls f, and turns its panic into an error and a line of the log: a bug
// that one client runs into must not take the agent from the others. The line
// names functions, not their arguments or the value of the panic, which could
// be parts of a key.
func guard(log *slog.Logger, doing string, f func() error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		what := fmt.Sprintf("%T", v)
		if e, ok := v.(runtime.Error); ok {
			what = e.Error()
		}
		log.Error("panic", "while", doing, "panic", what, "stack", callers())
		err = fmt.Errorf("%s: %w", doing, errPanic)
	}()
	return f()
}

// callers lists what was called when a panic came up, innermost first.
func callers() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s (%s:%d)\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}
