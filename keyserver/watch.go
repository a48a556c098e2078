package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	// heartBeat is how often somebody who watches hears of us, and how late
	// what was done on another server is told at the latest.
	heartBeat = 15 * time.Second

	// eventTime bounds the writing of one event.
	eventTime = 10 * time.Second
)

// watchRoute is the route that has no end: server-sent events, which the HTML
// standard defines (section 9.2). It tells of a change and not what it is, so it
// is not recorded, as reading public things is not; what a workspace then
// fetches is.
func watchRoute(pattern string, who Access, action, does string) Route {
	return Route{
		Method: "GET", Pattern: pattern, Access: who, Action: action, Does: does,
		Response: api.WatchEvent{}, Status: http.StatusOK, serve: (*Server).serveWatch,
	}
}

// A mark is another one whenever what a user's workspaces are given has changed:
// what is not in it, nobody is told.
type mark struct {
	revision   int64 // the user's: all that is theirs
	knownHosts int64 // the revision of what every user's workspaces are given
}

func (s *Server) mark(ctx context.Context, user UserID) (mark, error) {
	revision, err := s.store.Revision(ctx, user)
	if err != nil {
		return mark{}, fmt.Errorf("reading the revision: %w", err)
	}
	knownHosts, err := s.store.KnownHostsRevision(ctx)
	if err != nil {
		return mark{}, fmt.Errorf("reading the revision of the known hosts: %w", err)
	}
	return mark{revision, knownHosts}, nil
}

// serveWatch tells a workspace when what it is given changes. ctx bounds the
// beginning; the watch itself lasts as long as its request.
func (s *Server) serveWatch(ctx context.Context, a *answer, c *call) error {
	if err := c.decode(nil); err != nil {
		return err
	}
	last, err := lastEventID(c.http)
	if err != nil {
		return err
	}
	// Whoever joins before the mark is read misses no change of it.
	w, err := s.hub.join(c.user.ID, c.token.ID)
	if err != nil {
		return err
	}
	defer s.hub.leave(w)
	known, err := s.mark(ctx, c.user.ID)
	if err != nil {
		return gone(c, err)
	}
	stream := newEventStream(a)
	err = stream.comment()
	if err == nil && known.revision != last {
		err = stream.event(api.WatchEvent{Kind: api.WatchChanged, Revision: known.revision})
	}
	if err == nil {
		s.keepWatching(c, w, stream, known)
	}
	return nil // an error is the caller's connection, which is gone
}

// keepWatching lasts until the caller goes, may not watch any more, or the
// server ends.
func (s *Server) keepWatching(c *call, w *watch, stream *eventStream, known mark) {
	ctx := c.http.Context()
	beat := time.NewTicker(heartBeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.hub.end:
			return
		case <-w.woken:
		case <-beat.C:
			err = stream.comment()
		}
		if err != nil {
			return
		}
		now, valid := s.look(ctx, c, known)
		if !valid {
			stream.event(api.WatchEvent{Kind: api.WatchStopped, Revision: now.revision}) // the last one
			return
		}
		if now == known {
			continue
		}
		known = now
		if stream.event(api.WatchEvent{Kind: api.WatchChanged, Revision: now.revision}) != nil {
			return
		}
	}
}

// look reads the mark again, and whether the token is valid still. While the store
// can't be read, nothing is known to have changed.
func (s *Server) look(ctx context.Context, c *call, known mark) (now mark, valid bool) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	_, err := s.authenticate(ctx, c.http)
	var failure *loginFailure
	if errors.As(err, &failure) {
		return known, false
	}
	if err != nil {
		return known, true
	}
	now, err = s.mark(ctx, c.user.ID)
	if err != nil {
		return known, true
	}
	return now, true
}

// lastEventID is the revision from which a watch resumes, 0 if it begins.
func lastEventID(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, refusal(api.ErrInvalid, "send the id of an event, or leave the header out", "Last-Event-ID is not the id of an event")
	}
	return n, nil
}

// An eventStream writes server-sent events.
type eventStream struct {
	answer  *answer
	control *http.ResponseController
}

// newEventStream begins the answer.
func newEventStream(a *answer) *eventStream {
	a.Header().Set("Content-Type", "text/event-stream")
	a.Header().Set("X-Accel-Buffering", "no") // nginx holds answers back else
	a.WriteHeader(http.StatusOK)
	return &eventStream{a, http.NewResponseController(a)}
}

// comment sends a line that clients skip.
func (s *eventStream) comment() error { return s.write(":\n\n") }

func (s *eventStream) event(e api.WatchEvent) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	return s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.Revision, e.Kind, data))
}

// write bounds the one write, in the place of the http.Server's WriteTimeout,
// which bounds a whole answer. In HTTP/2 a deadline ends a stream also while
// nothing is written, so none is left behind.
func (s *eventStream) write(text string) error {
	if err := s.deadline(time.Now().Add(eventTime)); err != nil {
		return err
	}
	if _, err := s.answer.Write([]byte(text)); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	return s.deadline(time.Time{})
}

// deadline is for writing. What is not a connection has none.
func (s *eventStream) deadline(at time.Time) error {
	err := s.control.SetWriteDeadline(at)
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
