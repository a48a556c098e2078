package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
)

// takeNotifier takes NOTIFY_SOCKET out of the environment, and returns what tells
// systemd how far we are, where it asks for it (sd_notify(3)).
func takeNotifier(log *slog.Logger) (notify func(state string)) {
	path := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	if path == "" {
		return func(string) {}
	}
	return func(state string) {
		conn, err := net.Dial("unixgram", path) // a leading @ is an abstract name, here as there
		if err == nil {
			_, err = conn.Write([]byte(state))
			err = errors.Join(err, conn.Close())
		}
		if err != nil {
			log.Warn("systemd was not told", "state", state, "err", err)
		}
	}
}
