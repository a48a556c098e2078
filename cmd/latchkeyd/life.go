package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/keyserver"
)

// stopTime is how long requests under way may take after the first signal.
const stopTime = 10 * time.Second

// errAtOnce ends a server on which a second signal came. Nothing is closed any
// more: what was answered is on the disk.
var errAtOnce = errors.New("a second signal came")

// A life is a server from its first connection to its last.
type life struct {
	server      *keyserver.Server
	http        *http.Server
	certificate *certificate // nil: plain HTTP
	log         *slog.Logger
	patience    time.Duration // stopTime
	requests    atomic.Int64  // under way
}

func newLife(server *keyserver.Server, c *certificate, log *slog.Logger) *life {
	l := &life{server: server, certificate: c, log: log, patience: stopTime}
	handler := server.Handler()
	l.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.requests.Add(1)
			defer l.requests.Add(-1)
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second, // the handler itself takes at most 30
		IdleTimeout:       2 * time.Minute,  // longer than our client keeps one
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          stdlog.New(httpLog{log}, "", 0),
	}
	l.http.RegisterOnShutdown(server.EndWatches)
	if c != nil {
		l.http.TLSConfig = serverTLS(c)
	}
	return l
}

// run serves until a signal ends it: the first lets the requests under way
// finish, the second does not.
func (l *life) run(ctx context.Context, listener net.Listener, url string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	served := make(chan error, 1)
	go func() {
		if l.certificate != nil {
			served <- l.http.ServeTLS(listener, "", "")
		} else {
			served <- l.http.Serve(listener)
		}
	}()
	l.log.Info("ready", "url", url, "address", listener.Addr().String())
	l.notify("READY=1")
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		case s := <-signals:
			if s == syscall.SIGHUP && l.certificate != nil {
				l.certificate.again()
				continue
			}
			return l.stop(ctx, signals)
		}
	}
}

// stop lets the requests under way finish, for their time at most, unless another
// signal comes.
func (l *life) stop(ctx context.Context, signals <-chan os.Signal) error {
	l.log.Info("stopping", "requests", l.requests.Load())
	l.notify("STOPPING=1")
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	finished := make(chan error, 1)
	go func() { finished <- l.http.Shutdown(ctx) }()
	var err error
	select {
	case err = <-finished:
	case <-signals:
		return l.unfinished(errAtOnce)
	}
	if err != nil {
		err = l.unfinished(err)
		l.http.Close()
	}
	return errors.Join(err, l.server.Close(context.WithoutCancel(ctx)))
}

func (l *life) unfinished(why error) error {
	return fmt.Errorf("stopped with %d requests under way: %w", l.requests.Load(), why)
}

// notify tells systemd how far we are, where it asks for it (sd_notify(3)).
func (l *life) notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path) // a leading @ is an abstract name, here as there
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		l.log.Warn("systemd was not told", "state", state, "err", err)
	}
}
