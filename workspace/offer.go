package workspace

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// An Offer is what the daemon last heard of its server. To get it, the server is
// not asked.
type Offer struct {
	Keys  []string `json:"keys"`            // those on offer, as authorized_keys lines
	Error string   `json:"error,omitempty"` // why the last request failed, if it did

	Locked bool `json:"locked,omitempty"` // by ssh-add -x: the agent offers none of them

	Refusals []StateRefusal `json:"refusals"` // the last ones, newest last
}

// LastOffer asks the daemon of a runtime directory what it last heard. A client
// of its agent cannot tell: a list there may hold other agents' keys, and a
// failure has no reason.
func LastOffer(ctx context.Context, dir string) (Offer, error) {
	var o Offer
	const doing = "asking the workspace daemon: %w"
	if err := CheckRuntimeDir(dir); err != nil {
		return o, fmt.Errorf(doing, err)
	}
	text, err := askSocket(ctx, ControlSocket(dir), "/offer", maxState)
	if err != nil {
		return o, fmt.Errorf(doing, err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf(doing, err)
	}
	return o, nil
}

// askSocket sends a GET over a unix socket and reads at most most bytes of the
// answer. It does without the machinery of an http.Transport: the git helper asks
// while ssh waits.
func askSocket(ctx context.Context, socket, path string, most int64) ([]byte, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.0\r\nHost: daemon\r\n\r\n"); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, most)), nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return text, nil
	case http.StatusServiceUnavailable: // of the server that was asked
		why := strings.TrimSuffix(strings.TrimSpace(string(text)), ": "+api.ErrUnavailable.Error()) // which is said once
		return nil, fmt.Errorf("%s: %w", why, api.ErrUnavailable)
	}
	return nil, fmt.Errorf("the answer was %s", answer.Status)
}

// LastOffer is what was last heard of the server.
func (s *Source) LastOffer() Offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := Offer{Keys: []string{}, Refusals: s.refusals.last()}
	for _, k := range s.known {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.Public)))
		o.Keys = append(o.Keys, strings.TrimSpace(line+" "+k.Comment))
	}
	if s.err != nil {
		o.Error = s.err.Error()
	}
	return o
}
