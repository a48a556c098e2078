package keyserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// requestTime bounds what is done for one request. Making an RSA key of 4096
// bits takes some seconds on a small machine.
const requestTime = 30 * time.Second

const healthPath = "/healthz"

// newHandler puts the routes behind what all requests have in common.
func (s *Server) newHandler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range Routes() {
		mux.HandleFunc(r.Method+" "+r.Pattern, func(w http.ResponseWriter, req *http.Request) {
			a := w.(*answer)
			a.route = &r
			// The request's own context has no end but the caller's: see serveWatch.
			ctx, cancel := context.WithTimeout(req.Context(), requestTime)
			defer cancel()
			if err := s.serve(ctx, a, req); err != nil {
				a.refuse(err)
			}
		})
	}
	// Tokens travel in headers, which a foreign page can't set; this holds
	// also for a browser that adds them by some other way.
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := w.(*answer)
		a.refuse(s.refuseUnknown(r.Context(), refusal(api.ErrForbidden, "", "requests from other sites' pages are refused"), a.remote, Event{}))
	}))
	routes := cross.Handler(mux)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := newAnswer(w)
		begin := time.Now()
		defer s.logRequest(a, r, begin)
		defer s.recoverPanic(a)
		if err := s.admit(r.Context(), a, r); err != nil {
			a.refuse(err)
			return
		}
		routes.ServeHTTP(a, r)
		a.finish(r)
	})
}

// admit refuses requests in plain HTTP from where tokens must not come so.
// Health may be asked for from everywhere: it takes no token and tells nothing.
func (s *Server) admit(ctx context.Context, a *answer, r *http.Request) error {
	var err error
	a.remote, err = s.remote(r)
	if r.URL.Path == healthPath {
		return nil
	}
	if counted := s.recordCounted(ctx); counted != nil {
		s.log.ErrorContext(ctx, "counted refusals not recorded", "err", counted)
	}
	var refused *api.Error
	if errors.As(err, &refused) {
		return s.refuseUnknown(ctx, refused, a.remote, Event{})
	}
	return nil
}

// serve is what all routes have in common: it authenticates and authorises,
// does what the route is for, and has refusals on record before they are
// answered.
func (s *Server) serve(ctx context.Context, a *answer, r *http.Request) error {
	c := &call{route: a.route, remote: a.remote, http: r}
	// Whoever sends slowly must not be taken for who they were at the start: a
	// token may be revoked while its request is under way.
	c.body, c.bodyErr = readBody(a, r, s.bodyLimit(ctx, a, r))
	defer clear(c.body)
	c.at = s.now()
	if a.route.Access.open() {
		return a.route.serve(s, ctx, a, c)
	}
	var err error
	c.caller, err = s.authenticate(ctx, r)
	var failure *loginFailure
	if errors.As(err, &failure) {
		a.caller = failure.caller
		return s.refuseLogin(ctx, failure, a.remote)
	}
	if err != nil {
		return err
	}
	a.caller = c.caller
	err = s.authorize(ctx, c)
	if err == nil {
		err = a.route.serve(s, ctx, a, c)
		s.wake(c)
	}
	if errors.Is(err, api.ErrUnauthenticated) { // of the store: see Credential
		return s.refuseLogin(ctx, &loginFailure{refusal(api.ErrUnauthenticated, "try again: the answer will say more",
			"the token was revoked, or its user changed, while the request was under way"), c.caller}, a.remote)
	}
	var denied *denial
	if errors.As(err, &denied) || errors.Is(err, api.ErrForbidden) {
		e := c.event(c.asked())
		e.Result, e.Detail = Denied, err.Error()
		if c.doing != "" {
			e.Detail = c.doing + ": " + e.Detail
		}
		if err := s.record(ctx, e); err != nil {
			return err
		}
	}
	return err
}

// wake has those look again who watch what a call may have changed: also one that
// failed may have been stored. A workspace changes nothing that it is given.
func (s *Server) wake(c *call) {
	switch {
	case c.route.Method == http.MethodGet, c.route.Access.Workspace:
	case c.route.all:
		s.hub.wakeAll()
	default:
		s.hub.wake(c.owner.ID)
	}
}

// bodyLimit bounds the body of a request. Only who has a good token may make the
// server hold a large one.
func (s *Server) bodyLimit(ctx context.Context, a *answer, r *http.Request) int64 {
	limit := cmp.Or(a.route.MaxBody, maxBody)
	if limit > maxBody {
		if _, err := s.authenticate(ctx, r); err != nil {
			return maxBody
		}
	}
	return limit
}

// recoverPanic answers a panic, which is a bug of ours, and logs where it was.
// What a panic says may hold what it was about, so only its type is logged
// unless it is the runtime's own.
func (s *Server) recoverPanic(a *answer) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	s.log.Error("panic", "request", a.id, "panic", what, "stack", string(debug.Stack()))
	if a.status != 0 {
		panic(http.ErrAbortHandler) // the answer has begun
	}
	a.refuse(errPanic)
}

var errPanic = errors.New("a panic, see above")

// logRequest writes one line for each request: ids, never tokens, bodies or
// paths, in which anything may stand.
func (s *Server) logRequest(a *answer, r *http.Request, begin time.Time) {
	level := slog.LevelDebug
	switch {
	case a.status >= 500 && r.Context().Err() != nil:
		level = slog.LevelInfo // the caller has gone, or was too slow
	case a.status >= 500:
		level = slog.LevelError
	case a.status >= 400:
		level = slog.LevelInfo
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	pattern := "none"
	if a.route != nil {
		pattern = a.route.Pattern
	}
	actor, _ := a.caller.actor()
	attrs := []slog.Attr{
		slog.String("request", a.id), slog.String("method", shown(r.Method)), slog.String("route", pattern),
		slog.Int("status", a.status), slog.Duration("took", time.Since(begin)),
		slog.String("remote", a.remote), slog.String("actor", actor), slog.String("token_id", string(a.caller.token.ID)),
	}
	if a.status >= 500 && a.err != nil {
		attrs = append(attrs, slog.Any("err", a.err))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// newRequestID names a request, in its refusal and in the log.
func newRequestID() string {
	var b [4]byte
	rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}
