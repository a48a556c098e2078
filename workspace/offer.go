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
)

// An Offer is what the daemon last heard of its server. To get it, the server is
// not asked.
type Offer struct {
	Keys  []string `json:"keys"`            // those on offer, as authorized_keys lines
	Error string   `json:"error,omitempty"` // why the last request failed, if it did
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
	c, err := new(net.Dialer).DialContext(ctx, "unix", ControlSocket(dir))
	if err != nil {
		return o, fmt.Errorf(doing, err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	// Without the machinery of an http.Transport: the git helper asks this while ssh waits.
	if _, err := io.WriteString(c, "GET /offer HTTP/1.0\r\nHost: daemon\r\n\r\n"); err != nil {
		return o, fmt.Errorf(doing, err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxState)), nil)
	if err != nil {
		return o, fmt.Errorf(doing, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return o, fmt.Errorf("asking the workspace daemon: it answered %s", answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&o); err != nil {
		return o, fmt.Errorf(doing, err)
	}
	return o, nil
}

func (s *Source) lastOffer() Offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := Offer{Keys: []string{}}
	for _, k := range s.known {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.Public)))
		o.Keys = append(o.Keys, strings.TrimSpace(line+" "+k.Comment))
	}
	if s.err != nil {
		o.Error = s.err.Error()
	}
	return o
}
