package workspace

import (
	"errors"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A link is what is known of the connection to the server.
type link struct {
	watched time.Time // since when the server is watched; zero: it is not
	away    time.Time // since when it did not answer; zero: it does
	polled  bool      // it can't be watched, and is asked from time to time
	behind  bool      // a request for the secrets is due, whatever their revision is
	refusal error     // it has refused the workspace; nil: it has not, or takes it again
	err     error     // why it is away
}

// unwatched hears why the server is not watched any more.
func (s *secretSync) unwatched(err error) {
	s.setLink(func(l *link) { l.watched = time.Time{} })
	switch {
	case isRefusal(err):
		s.doubt(err)
	case errors.Is(err, api.ErrNotFound):
		s.setLink(func(l *link) { l.polled = true })
		s.heard(api.WatchEvent{})
		s.ask()
	default:
		s.lost(err)
	}
}

// told hears what the server tells.
func (s *secretSync) told(e api.WatchEvent) error {
	s.heard(e)
	switch e.Kind {
	case api.WatchStopped:
		return errStopped
	case api.WatchChanged:
		// Also one that is lower: the server was restored from a backup.
		if e.Revision != s.revision() {
			s.ask()
		}
	default:
		if s.connected() {
			s.ask()
		}
	}
	return nil
}

// revision is the one that is delivered, 0 if none is.
func (s *secretSync) revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.revision
}

// connected notes that the server is watched, and reports whether it must be
// asked all the same: it tells by itself what has changed since a revision.
func (s *secretSync) connected() (ask bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link.watched, s.link.polled = time.Now(), false
	if !s.link.behind {
		s.link.away, s.link.err = time.Time{}, nil
	}
	return s.link.behind
}

func (s *secretSync) setLink(change func(*link)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.link)
}

// reached notes that the server has answered.
func (s *secretSync) reached() {
	s.mu.Lock()
	away, err := s.link.away, s.link.err
	s.link.away, s.link.err, s.link.refusal, s.link.behind = time.Time{}, nil, nil, false
	s.mu.Unlock()
	if err != nil {
		s.log.Info("the server answers", "away_since", away)
	}
}

// lost notes that the server has not.
func (s *secretSync) lost(err error) {
	s.mu.Lock()
	first := s.link.away.IsZero() || s.link.err == nil
	if s.link.away.IsZero() {
		s.link.away = time.Now()
	}
	s.link.err = err
	s.mu.Unlock()
	if first {
		s.log.Warn("the server is away: secrets stay as they are", "err", err)
	}
}
