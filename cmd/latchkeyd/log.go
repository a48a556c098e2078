package main

import (
	"log/slog"
	"strings"
)

// newLog logs to stderr.
func (p *program) newLog(format string, verbose bool) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		options.Level = slog.LevelDebug
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(p.stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(p.stderr, options)), nil
	}
	return nil, usagef("flag --log: %q: want text or json", format)
}

// An httpLog takes what net/http has to say.
type httpLog struct{ log *slog.Logger }

func (h httpLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.HasPrefix(text, "http: TLS handshake error") {
		h.log.Debug("handshake", "err", text) // what strangers get wrong
	} else {
		h.log.Warn("http", "err", text)
	}
	return len(line), nil
}
