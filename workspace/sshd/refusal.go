package sshd

import (
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Bounds on what is told of those who do not log in: they choose it.
const (
	maxToldUser = 64  // bytes
	maxToldWhy  = 300 // bytes
)

// A Refusal is a connection over which nobody has logged in, though somebody tried.
type Refusal struct {
	User   string   // the last that was tried, cut at 64 bytes; "": none was
	Keys   []string // the fingerprints of those that were shown: 6 at most
	Remote string   // the address that it came from
	Why    string   // cut at 300 bytes
}

// shown notes that a client has shown a key, and how that was judged.
func (r *Refusal) shown(user string, key ssh.PublicKey, err error) {
	r.User, r.Why = user, "the client has not proved that it has the private key"
	if err != nil {
		r.Why = err.Error()
	}
	if c, ok := key.(*ssh.Certificate); ok {
		key, r.Why = c.Key, "certificates are not taken"
	}
	fingerprint := ssh.FingerprintSHA256(key)
	if len(r.Keys) < maxAuthTries && !slices.Contains(r.Keys, fingerprint) {
		r.Keys = append(r.Keys, fingerprint)
	}
}

// tried notes any try that has failed. What was said of a key says more.
func (r *Refusal) tried(conn ssh.ConnMetadata, method string, err error) {
	if r.User = conn.User(); err == nil || len(r.Keys) > 0 {
		return
	}
	if r.Why = err.Error(); method == "none" { // with which a client begins, and asks what there is
		r.Why = "the client has shown no key"
	}
}

// refused tells of a refusal, unless there were too many. Those with a key have a
// bound of their own: its owner looks for them, and what tries passwords all day
// must not crowd them out.
func (s *Server) refused(r Refusal) {
	r.User, r.Why = r.User[:min(len(r.User), maxToldUser)], r.Why[:min(len(r.Why), maxToldWhy)]
	told := &s.told
	if len(r.Keys) > 0 {
		told = &s.toldOfKeys
	}
	if told.Log(s.Log, slog.LevelWarn, "SSH login refused", "user", r.User, "keys", strings.Join(r.Keys, " "), "remote", r.Remote, "why", r.Why) &&
		s.Refused != nil && len(r.Keys) > 0 {
		s.Refused(r)
	}
}
