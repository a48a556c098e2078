package keyserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A Config is what a [Server] is made of.
type Config struct {
	Store     Store
	MasterKey tink.AEAD // see [LoadMasterKey]

	// KeyAlgorithm is that of new keys whose request names none. Default: api.Ed25519.
	KeyAlgorithm api.Algorithm

	// KeyMode is how private keys serve; a key or a workspace may be set to
	// api.SignMode where this is api.FetchMode. Default: api.FetchMode.
	KeyMode api.KeyMode

	// TrustedProxies are the addresses whose X-Forwarded-For is believed, and
	// from which plain HTTP is accepted off loopback.
	TrustedProxies []netip.Prefix

	// Limits are those of each user's secrets; 0 stands for the default, see
	// [DefaultLimits] and [CheckLimits].
	Limits api.Limits

	// ReservedEnv are environment variables, or with a trailing * beginnings of
	// them, that no secret may have beside those of [api.CheckEnvName].
	ReservedEnv []string

	Log *slog.Logger     // default: nothing is logged
	Now func() time.Time // default: time.Now
}

// A Server makes and holds the keys and the secrets of users: it checks, names, seals,
// authorises and audits over a [Store]. It starts no goroutine of its own and
// is safe for concurrent use.
type Server struct {
	store       Store
	sealer      sealer
	algorithm   api.Algorithm
	mode        api.KeyMode
	proxies     []netip.Prefix
	limits      api.Limits
	reservedEnv []string
	log         *slog.Logger
	clock       func() time.Time
	handler     http.Handler
	failures    *failures
	heavy       chan struct{} // holds one element for each computation of seconds
	rsa         *turns        // of signatures
	writers     *userLocks    // of secrets and login keys
	hub         *hub
	known       *knownHosts
}

// New returns a server over c.Store. A store that is new is bound to
// c.MasterKey; one that was bound to another key is refused with an
// [api.Error] whose detail says what to do, and nothing is changed in it.
func New(ctx context.Context, c Config) (*Server, error) {
	s := &Server{
		store:       c.Store,
		sealer:      sealer{c.MasterKey},
		algorithm:   c.KeyAlgorithm,
		mode:        api.Strictest(c.KeyMode),
		proxies:     c.TrustedProxies,
		reservedEnv: slices.Clone(c.ReservedEnv),
		log:         c.Log,
		clock:       c.Now,
		failures:    newFailures(),
		heavy:       make(chan struct{}, heavyAtOnce),
		rsa:         newTurns(),
		writers:     newUserLocks(),
		hub:         newHub(),
		known:       &knownHosts{},
	}
	if s.store == nil || c.MasterKey == nil {
		return nil, errors.New("key server: Config has no Store or no MasterKey")
	}
	if s.algorithm == "" {
		s.algorithm = api.Ed25519
	}
	if !knownAlgorithm(s.algorithm) {
		return nil, fmt.Errorf("key server: unknown key algorithm %q: %w", s.algorithm, api.ErrInvalid)
	}
	if m := c.KeyMode; m != "" && m != api.FetchMode && m != api.SignMode {
		return nil, fmt.Errorf("key server: unknown key mode %q: %w", m, api.ErrInvalid)
	}
	var err error
	if s.limits, err = CheckLimits(c.Limits); err != nil {
		return nil, fmt.Errorf("key server: %w", err)
	}
	for _, pattern := range c.ReservedEnv {
		if err := CheckReserved(pattern); err != nil {
			return nil, fmt.Errorf("key server: %w", err)
		}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if err := s.bind(ctx); err != nil {
		return nil, err
	}
	s.handler = s.newHandler()
	return s, nil
}

// bind checks that the store's values were sealed under this master key, and
// binds a new store to it.
func (s *Server) bind(ctx context.Context) error {
	check, err := s.store.MasterKeyCheck(ctx)
	if errors.Is(err, api.ErrNotFound) {
		users, err := s.store.Users(ctx, "", 1)
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
		if len(users) > 0 {
			return &api.Error{
				Kind:    api.ErrInvalid,
				Message: "the store holds users but not the check value of the master key that sealed them",
				Detail:  "restore the store from a backup",
			}
		}
		check, err = s.sealer.newCheck()
		if err != nil {
			return err
		}
		err = s.store.Init(ctx, check, s.ownEvent("store.init", "master key"))
		if err == nil {
			return nil
		}
		if !errors.Is(err, api.ErrConflict) {
			return fmt.Errorf("binding the store to the master key: %w", err)
		}
		check, err = s.store.MasterKeyCheck(ctx) // another server was first
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
		return s.sealer.verifyCheck(check)
	}
	if err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	return s.sealer.verifyCheck(check)
}

// Handler serves the whole HTTP surface, which [Routes] lists. It bounds bodies
// and what it does for one request; the time in which a request must arrive is
// for the http.Server to bound (ReadHeaderTimeout, ReadTimeout).
func (s *Server) Handler() http.Handler { return s.handler }

// now is the time as stores keep it.
func (s *Server) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// ownEvent is an event of the server itself, or of its operator.
func (s *Server) ownEvent(action, target string) Event {
	return Event{At: s.now(), Actor: "server", Action: action, Target: target, Result: OK}
}
