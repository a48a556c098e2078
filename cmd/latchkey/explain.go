package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

// explain adds to an error of the client what the user of this login can do
// about it, if nobody has said it yet.
func explain(err error, l login) error {
	var said *hintedError
	var answer *api.Error
	answered := errors.As(err, &answer)
	switch {
	case err == nil || errors.As(err, &said):
		return err
	case errors.Is(err, api.ErrUnauthenticated) && l.from == "LATCHKEY_SESSION_TOKEN":
		return withHint(err, "it is the token in LATCHKEY_SESSION_TOKEN: set another, or unset it to use your login")
	case errors.Is(err, api.ErrUnauthenticated):
		return withHint(err, "latchkey login "+quoted(l.URL))
	case answered && strings.Contains(answer.Message, "not as a Latchkey server would"), errors.As(err, new(*json.SyntaxError)):
		return withHint(err, fmt.Sprintf("is latchkeyd at %s? with TLS its address begins with https://", l.URL))
	case answered && answer.Detail != "":
		return err
	case errors.Is(err, api.ErrForbidden):
		return withHint(err, `"latchkey status" shows your role; admins manage users, provisioners the workspaces of others`)
	case errors.Is(err, api.ErrTooMany):
		return withHint(err, "wait a minute and try again")
	case !answered && errors.Is(err, api.ErrUnavailable):
		return withHint(err, unreachable(err, l.URL))
	}
	return err
}

// unreachable is what to do when no answer came from a server.
func unreachable(err error, url string) string {
	var untrusted x509.UnknownAuthorityError
	var otherHost x509.HostnameError
	var expired x509.CertificateInvalidError
	var dns *net.DNSError
	switch {
	case errors.As(err, &untrusted):
		return fmt.Sprintf("if the server has a certificate authority of its own: latchkey login %s --ca-file FILE", quoted(url))
	case errors.As(err, &otherHost) && otherHost.Certificate != nil:
		return "its certificate is for " + strings.Join(namesIn(otherHost.Certificate), ", ") + ": use that name, or a certificate for this one"
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return "the server needs a new certificate; or is this machine's clock wrong?"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the server speaks plain http: latchkey login " + quoted("http"+strings.TrimPrefix(url, "https"))
	case errors.As(err, &dns):
		return "check the host name in the address"
	case sameURL(url, api.DefaultURL):
		return `is latchkeyd running? "latchkeyd serve" starts it; for one elsewhere: latchkey login URL`
	}
	return "is latchkeyd running at " + url + "?"
}

func namesIn(c *x509.Certificate) []string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"no host"}
	}
	return names
}
