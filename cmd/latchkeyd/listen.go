package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const defaultListen = "127.0.0.1:7843"

// A listener says where to listen, and how people get there.
type listener struct {
	address     string // as the flag has it
	url         string // of --url; "": found out
	proxied     bool   // trusted proxies are named
	certificate *certificate
	tcp         *net.TCPAddr // set by resolve
}

// loadCertificate reads what --tls-cert and --tls-key name.
func (l *listener) loadCertificate(certFile, keyFile string, log *slog.Logger) (err error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil
	case certFile == "":
		return withHint(usagef("serve: --tls-key without --tls-cert"), "name the certificate's file as well")
	case keyFile == "":
		return withHint(usagef("serve: --tls-cert without --tls-key"), "name the private key's file as well")
	}
	l.certificate, err = newCertificate(certFile, keyFile, log)
	return err
}

// resolve finds the address to listen on, and refuses one at which tokens would
// travel in the clear.
func (l *listener) resolve() (err error) {
	l.tcp, err = net.ResolveTCPAddr("tcp", l.address)
	if err != nil {
		return withHint(usagef("flag --listen: %q: want HOST:PORT", l.address), "for example %s", defaultListen)
	}
	if l.certificate == nil && !l.proxied && !l.tcp.IP.IsLoopback() {
		return withHint(fmt.Errorf("refusing to listen on %s in plain HTTP: tokens would travel in the clear", l.address),
			"give --tls-cert and --tls-key, or name the proxy before it with --trusted-proxy")
	}
	return nil
}

func (l *listener) listen() (*net.TCPListener, error) {
	listening, err := net.ListenTCP("tcp", l.tcp)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("another program listens on %s", l.tcp), "choose another address with --listen; \"ss -ltnp\" shows who listens")
	case errors.Is(err, syscall.EACCES):
		return nil, withHint(fmt.Errorf("listening on %s: %w", l.tcp, err), "ports below 1024 are root's: choose a higher one with --listen, or let systemd give AmbientCapabilities=CAP_NET_BIND_SERVICE")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, withHint(fmt.Errorf("%s is no address of this machine", l.tcp.IP), "\"ip address\" shows them; --listen :%d is all", l.tcp.Port)
	}
	return listening, err
}

// baseURL is where people find a server that listens on addr.
func (l *listener) baseURL(addr net.Addr) string {
	if l.url != "" {
		return l.url
	}
	tcp := addr.(*net.TCPAddr)
	hostPort := func(host string) string { return net.JoinHostPort(host, strconv.Itoa(tcp.Port)) }
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = hostname()
	}
	switch {
	case l.certificate != nil:
		return "https://" + hostPort(l.certificate.nameFor(host))
	case !tcp.IP.IsLoopback():
		return "https://" + hostname() // the proxy's, as far as we can know
	}
	return "http://" + hostPort(host)
}

func hostname() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// selfSigned is the file of a certificate that nobody trusts who is not told
// to: clients must be given it.
func (l *listener) selfSigned() string {
	if l.certificate == nil || !l.certificate.selfSigned() {
		return ""
	}
	path, err := filepath.Abs(l.certificate.certFile)
	if err != nil {
		return l.certificate.certFile
	}
	return path
}

// loginLine is what logs in with a token. echo is a part of the shell, so the
// token is in no program's arguments.
func (s serving) loginLine(token string) string {
	line := "echo " + token + " | latchkey login " + quoted(s.URL)
	if s.CA != "" {
		line += " --ca-file " + quoted(s.CA)
	}
	return line
}

// quoted is s as one word of a shell. zsh takes brackets, as in http://[::1],
// for a pattern.
func quoted(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/:._@%+-", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// serverTLS is TLS 1.3 only: all our clients speak it.
func serverTLS(c *certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: c.get}
}
