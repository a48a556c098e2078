package keyserver

import (
	"sync"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	maxWatches      = 20_000 // of a server; each is a connection and a goroutine
	maxTokenWatches = 8      // with one token
)

// A hub wakes those who watch a user. It is not what they are told: that is in
// the store, which another server may have changed.
type hub struct {
	mu      sync.Mutex
	watches map[UserID]map[*watch]struct{}
	tokens  map[TokenID]int // watches with each token
	n       int             // all watches
	ended   bool
	end     chan struct{} // closed when ended
}

// A watch is one who watches.
type watch struct {
	user  UserID
	token TokenID
	woken chan struct{} // holds one element if there may be something new
}

func newHub() *hub {
	return &hub{watches: map[UserID]map[*watch]struct{}{}, tokens: map[TokenID]int{}, end: make(chan struct{})}
}

// join begins a watch. leave must be called at its end.
func (h *hub) join(user UserID, token TokenID) (*watch, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return nil, refusal(api.ErrUnavailable, "try again in a moment", "the server is stopping")
	case h.tokens[token] >= maxTokenWatches:
		return nil, refusal(api.ErrTooMany, "one watch is enough for a workspace: end another one", "there are %d watches with this token already", maxTokenWatches)
	case h.n >= maxWatches:
		return nil, refusal(api.ErrUnavailable, "try again in a minute", "there are %d watches on this server already", maxWatches)
	}
	w := &watch{user: user, token: token, woken: make(chan struct{}, 1)}
	w.woken <- struct{}{} // the token may have been revoked before it joined
	if h.watches[user] == nil {
		h.watches[user] = map[*watch]struct{}{}
	}
	h.watches[user][w] = struct{}{}
	h.tokens[token]++
	h.n++
	return w, nil
}

func (h *hub) leave(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches[w.user], w)
	if len(h.watches[w.user]) == 0 {
		delete(h.watches, w.user)
	}
	if h.tokens[w.token]--; h.tokens[w.token] == 0 {
		delete(h.tokens, w.token)
	}
	h.n--
}

// wake tells those who watch a user to look again.
func (h *hub) wake(user UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeLocked(user)
}

// wakeAll tells all who watch to look again.
func (h *hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for user := range h.watches {
		h.wakeLocked(user)
	}
}

func (h *hub) wakeLocked(user UserID) {
	for w := range h.watches[user] {
		select {
		case w.woken <- struct{}{}:
		default: // it has not looked since the last time
		}
	}
}

// EndWatches ends the requests that watch, and refuses further ones. They have
// no end of their own, so a graceful stop begins with it.
func (s *Server) EndWatches() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if !s.hub.ended {
		s.hub.ended = true
		close(s.hub.end)
	}
}
