package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
	"github.com/latchkey/latchkey/sqlstore"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "serve keys and secrets",
		Description: `Needs no configuration: it keeps everything in the data directory, which it
makes, and listens on ` + defaultListen + `. Its first start makes the first admin and
prints, this once, the line with which to log in. The log goes to stderr.

  latchkeyd serve
  latchkeyd serve --listen :7843 --tls-cert cert.pem --tls-key key.pem
  latchkeyd serve --listen 10.0.0.5:7843 --trusted-proxy 10.0.0.2 --url https://keys.example

One SIGTERM or SIGINT finishes the requests under way and ends; a second one
ends at once.`,
		Flags: append([]cli.Flag{
			dataFlag(),
			masterKeyFlag(),
			&cli.StringFlag{Name: "listen", Value: defaultListen, Usage: "listen on `HOST:PORT`; else on " + defaultListen},
			&cli.PathFlag{Name: "tls-cert", Usage: "serve HTTPS with the certificate, and what leads to its authority, in `FILE` (PEM); read again when it changes"},
			&cli.PathFlag{Name: "tls-key", Usage: "the certificate's private key is in `FILE` (PEM)"},
			&cli.StringSliceFlag{Name: "trusted-proxy", Usage: "accept plain HTTP from the proxy at `CIDR`, and believe its X-Forwarded-For; may be given again"},
			&cli.StringFlag{Name: "url", Usage: "people reach this server at `URL`: for the lines that log in"},
			&cli.StringFlag{Name: "key-algorithm", Value: string(api.Ed25519), Usage: "make `ALGORITHM` keys unless asked otherwise: ed25519, ecdsa-p256 or rsa4096; else ed25519"},
			&cli.StringFlag{Name: "key-mode", Value: string(api.FetchMode), Usage: "let private keys serve in `MODE`: fetch, or sign, where no private key leaves the server, which signs for workspaces; else fetch"},
			&cli.StringFlag{Name: "log", Value: "text", Usage: "log in `FORMAT`: text or json; else text"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log each request"},
			&cli.BoolFlag{Name: "no-sandbox", Usage: "keep what the server gives up once it listens: files elsewhere, other programs (seccomp, Landlock)"},
			&cli.BoolFlag{Name: "dev", Usage: "for trying things: keep everything in memory only, sealed under a key that is thrown away"},
		}, limitFlags()...),
		Action: p.serve,
	}
}

// serve runs a server until a signal ends it.
func (p *program) serve(c *cli.Context) (err error) {
	log, err := p.newLog(c.String("log"), c.Bool("verbose"))
	if err != nil {
		return err
	}
	slog.SetDefault(log) // and so the log of packages that have their own way
	// Whoever reads the log or our output may go: the server stays.
	signal.Ignore(syscall.SIGPIPE)
	report := harden.Process() // before there is a key in memory
	proxies, err := trustedProxies(c.StringSlice("trusted-proxy"))
	if err != nil {
		return err
	}
	if err := checkURL(c.String("url")); err != nil {
		return err
	}
	algorithm, mode, err := keysOf(c)
	if err != nil {
		return err
	}
	limits, err := limitsOf(c)
	if err != nil {
		return err
	}
	listener := listener{address: c.String("listen"), url: strings.TrimRight(c.String("url"), "/"), proxied: len(proxies) > 0}
	if err := listener.loadCertificate(c.Path("tls-cert"), c.Path("tls-key"), log); err != nil {
		return err
	}
	if err := listener.resolve(); err != nil {
		return err
	}
	config := keyserver.Config{
		KeyAlgorithm: algorithm, KeyMode: mode, TrustedProxies: proxies, Log: log,
		Limits: limits, ReservedEnv: c.StringSlice("reserve-env"),
	}
	place, err := p.openPlace(c, &config, log)
	if err != nil {
		return err
	}
	defer func() {
		if !errors.Is(err, errAtOnce) {
			err = errors.Join(err, place.close())
		}
	}()
	server, err := keyserver.New(c.Context, config)
	if err != nil {
		return err
	}
	return p.serveOn(c.Context, server, listener, place, log, func() { confine(c, report, place, log) })
}

// serveOn listens, gives up what is not needed from then on, tells how to log in,
// and serves.
func (p *program) serveOn(ctx context.Context, server *keyserver.Server, on listener, at *place, log *slog.Logger, confine func()) error {
	l, err := on.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	confine()
	self := serving{PID: os.Getpid(), URL: on.baseURL(l.Addr()), CA: on.selfSigned()}
	if at.lock != nil {
		if err := self.announce(at.lock); err != nil {
			return fmt.Errorf("writing %s: %w", at.lock.Name(), err)
		}
	}
	token, made, err := server.FirstAdmin(ctx)
	if err != nil {
		return err
	}
	if made {
		if err := p.printFirstLogin(self, token); err != nil {
			return withHint(fmt.Errorf("the first admin's login line is lost: %w", err), "\"latchkeyd token admin\" prints another")
		}
	}
	return newLife(server, on.certificate, log).run(ctx, l, self.URL)
}

func (p *program) printFirstLogin(s serving, token string) error {
	return p.print("# The first admin logs in with this line. Its token is good for a day, and logging in replaces it; it is not shown again.\n%s\n", s.loginLine(token))
}

// A place is where a server keeps what it stores.
type place struct {
	store keyserver.Store
	lock  *os.File // nil if it is memory
}

func (p *place) close() error {
	err := p.store.Close()
	if p.lock != nil {
		err = errors.Join(err, p.lock.Close())
	}
	return err
}

// openPlace opens the store and the master key for a server to come. The
// directory is locked before anything in it is read.
func (p *program) openPlace(c *cli.Context, config *keyserver.Config, log *slog.Logger) (_ *place, err error) {
	if c.Bool("dev") {
		return openMemory(c, config, log)
	}
	dir, err := dataDirOf(c)
	if err != nil {
		return nil, err
	}
	if err := dir.create(); err != nil {
		return nil, err
	}
	lock, err := dir.lock()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	stored, err := dir.hasStore()
	if err != nil {
		return nil, err
	}
	path := masterKeyPath(c, dir)
	made, err := loadMasterKey(path, stored, true, config)
	if err != nil {
		return nil, err
	}
	if made {
		log.Info("made the master key: keep a copy of it elsewhere, for without it nothing here can be opened", "file", path)
	}
	config.Store, err = openStore(c.Context, dir)
	if err != nil {
		return nil, err
	}
	log.Info("opened the store", "data", string(dir))
	return &place{config.Store, lock}, nil
}

func openStore(ctx context.Context, dir dataDir) (keyserver.Store, error) {
	store, err := sqlstore.Open(ctx, dir.database())
	if err != nil {
		return nil, withHint(err, "%s", storeHint(err, dir))
	}
	return store, nil
}

func openMemory(c *cli.Context, config *keyserver.Config, log *slog.Logger) (*place, error) {
	for _, name := range []string{"data", "master-key"} {
		if c.IsSet(name) {
			return nil, usagef("serve: --dev stores nothing: it goes without --%s", name)
		}
	}
	var err error
	if config.MasterKey, err = keyserver.NewMasterKey(); err != nil {
		return nil, err
	}
	config.Store = memstore.New()
	for _, what := range []string{
		"users, keys, tokens and the audit log are in memory only: all are lost when this process ends",
		"the master key is thrown away when this process ends",
		"events of the audit log are not on a disk before the answer: no record survives a crash",
	} {
		log.Warn("--dev: not for real keys", "weaker", what)
	}
	return &place{store: config.Store}, nil
}

// keysOf reads the flags about keys.
func keysOf(c *cli.Context) (api.Algorithm, api.KeyMode, error) {
	algorithm, mode := api.Algorithm(c.String("key-algorithm")), api.KeyMode(c.String("key-mode"))
	if !slices.Contains([]api.Algorithm{api.Ed25519, api.ECDSA, api.RSA}, algorithm) {
		return "", "", usagef("flag --key-algorithm: %q: want %s, %s or %s", algorithm, api.Ed25519, api.ECDSA, api.RSA)
	}
	if mode != api.FetchMode && mode != api.SignMode {
		return "", "", usagef("flag --key-mode: %q: want %s or %s", mode, api.FetchMode, api.SignMode)
	}
	return algorithm, mode, nil
}

// trustedProxies reads addresses and networks.
func trustedProxies(list []string) (prefixes []netip.Prefix, err error) {
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if a, aerr := netip.ParseAddr(text); aerr == nil {
			prefix, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return nil, usagef("flag --trusted-proxy: %q: want an address or a network, such as 10.0.0.2 or 10.0.0.0/24", text)
		}
		if prefix.Bits() == 0 {
			return nil, usagef("flag --trusted-proxy: %q is every address: plain HTTP would be accepted from everywhere", text)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// checkURL checks the address that people are to use.
func checkURL(text string) error {
	if text == "" {
		return nil
	}
	client, err := api.NewClient(text, nil, nil)
	if err != nil {
		return usagef("flag --url: %v", err)
	}
	client.Close()
	return nil
}
