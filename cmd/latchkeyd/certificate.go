package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// A certificate is read again when its files change, so that whoever renews it
// need not restart the server.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	seen   [2]stamp // of the files when they were last read, whether they were good or not
}

// A stamp tells a file from the one that was there before.
type stamp struct {
	modified time.Time
	size     int64
	file     fs.FileInfo
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size(), info}
}

// same also compares inodes: a rename may bring a file of the same size and time.
func (s stamp) same(o stamp) bool {
	if s.file == nil || o.file == nil {
		return s.file == o.file
	}
	return s.modified.Equal(o.modified) && s.size == o.size && os.SameFile(s.file, o.file)
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(); err != nil {
		return nil, withHint(fmt.Errorf("reading the TLS certificate: %w", err), "--tls-cert names a PEM file with the certificate first, --tls-key one with its private key")
	}
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
		log.Warn("every user of this machine can read the TLS private key", "file", keyFile, "todo", "chmod 0640")
	}
	if left := time.Until(c.loaded.Leaf.NotAfter); left < 0 {
		log.Warn("the TLS certificate has expired: clients will refuse it", "file", certFile, "expired", c.loaded.Leaf.NotAfter)
	}
	return c, nil
}

// read reads the files. What was loaded before stays if they are not good.
func (c *certificate) read() error {
	c.seen = [2]stamp{stampOf(c.certFile), stampOf(c.keyFile)}
	loaded, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.loaded = &loaded
	return nil
}

// get is called for each handshake. Looking at two files costs some
// microseconds, a handshake hundreds.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stampOf(c.certFile).same(c.seen[0]) && stampOf(c.keyFile).same(c.seen[1]) {
		return c.loaded, nil
	}
	// Of two files, the first may be there before the second: then the pair
	// does not fit, and the next handshake tries again.
	c.reload()
	return c.loaded, nil
}

// again reads the files, changed or not.
func (c *certificate) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reload()
}

func (c *certificate) reload() {
	if err := c.read(); err != nil {
		c.log.Error("the TLS certificate can't be read again: the one before is still served", "err", err)
		return
	}
	c.log.Info("read the TLS certificate again", "file", c.certFile, "expires", c.loaded.Leaf.NotAfter)
}

func (c *certificate) leaf() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loaded.Leaf
}

// nameFor is a name of the server that the certificate holds: the given one if
// it can be.
func (c *certificate) nameFor(host string) string {
	leaf := c.leaf()
	if leaf.VerifyHostname(host) == nil {
		return host
	}
	for _, name := range leaf.DNSNames {
		if !strings.Contains(name, "*") {
			return name
		}
	}
	for _, ip := range leaf.IPAddresses {
		return ip.String()
	}
	return host
}

// selfSigned reports whether it is its own authority, which nobody trusts who
// was not told to.
func (c *certificate) selfSigned() bool {
	leaf := c.leaf()
	return bytes.Equal(leaf.RawIssuer, leaf.RawSubject)
}
