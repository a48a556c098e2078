package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/workspace/sshd"
)

// Bounds on what that process may ask for. It reads what strangers send, so
// nothing that it says is taken on trust.
const (
	maxSSHQuestion  = 64 << 10 // bytes
	maxSSHQuestions = 64       // answered at once
	maxSSHUser      = 256      // bytes of the name of one who logs in
	maxSSHLoginKey  = 8 << 10  // bytes of their key: RSA of 16384 bits has 2 KiB
	maxSSHAgents    = 256
	maxSSHAgentName = 128     // bytes
	maxSSHRefusal   = 4 << 10 // bytes, of which text that is not plain takes six each

	// The hash that a key exchange ends with, and that the host key signs (RFC
	// 4253, section 8): of SHA-1 up to SHA-512.
	minExchangeHash, maxExchangeHash = 20, 64
)

// What the two ask each other.
const (
	askServe      = "serve"      // of the process: sshServing
	askRecheck    = "recheck"    // of the process
	askDial       = "dial"       // of the process: sshAgent; a descriptor comes along
	askAuthorized = "authorized" // of the daemon: sshLogin, which sshAuthorized answers
	askRefused    = "refused"    // of the daemon, for its status: sshd.Refusal; it has no answer
	askSign       = "sign"       // of the daemon: sshToSign, which ssh.Signature answers
	askVariables  = "variables"  // of the daemon, which a SecretState answers
	askAttach     = "attach"     // of the daemon: sshAgent
	askDetach     = "detach"     // of the daemon: sshAgent
)

type (
	sshLogin      struct{ User, Key []byte } // as the client has sent them
	sshAuthorized struct {
		Name string // of the key
		OK   bool
		Why  string // they may not
	}
	sshToSign struct {
		Data      []byte
		Algorithm string
	}
	sshAgent struct {
		Number uint64 // which the process has given it
		Name   string
		ID     []byte // of the session
	}
)

// answer answers what the process asks for. That it may ask so much is all that it
// has: what it signs as the host, and under whose names it lets people in, are
// what it is there for.
func (p *sshProcess) answer(ask string, body []byte, _ *os.File) (any, error) {
	switch ask {
	case askAuthorized:
		login, err := parsed[sshLogin](body)
		if err != nil {
			return nil, err
		}
		key, err := ssh.ParsePublicKey(login.Key)
		if err != nil {
			return nil, err
		}
		return p.service.authorized(string(login.User), key), nil
	case askRefused:
		if len(body) > maxSSHRefusal {
			return nil, fmt.Errorf("a refusal of %d bytes", len(body))
		}
		r, err := parsed[sshd.Refusal](body)
		if err == nil {
			p.service.noteRefusal(r)
		}
		return nil, err
	case askSign:
		s, err := parsed[sshToSign](body)
		if err != nil {
			return nil, err
		}
		if n := len(s.Data); n < minExchangeHash || n > maxExchangeHash {
			return nil, fmt.Errorf("signing %d bytes with the host key: that is no hash", n)
		}
		return p.service.sign(s.Data, s.Algorithm)
	case askVariables:
		return p.service.secrets()
	case askAttach, askDetach:
		a, err := parsed[sshAgent](body)
		if err != nil {
			return nil, err
		}
		if ask == askDetach {
			p.detach(a.Number)
			return nil, nil
		}
		return nil, p.attach(a)
	}
	return nil, errors.New("the daemon does not do that")
}

func parsed[T any](body []byte) (v T, err error) { return v, json.Unmarshal(body, &v) }

// attach offers the agent that a client has brought along.
func (p *sshProcess) attach(a sshAgent) error {
	plain := strings.IndexFunc(a.Name, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	if !plain || len(a.Name) > maxSSHAgentName || !strings.HasPrefix(a.Name, "ssh -A from ") {
		return errors.New("the agent has no name that it may have")
	}
	if n := len(a.ID); n < minExchangeHash || n > maxExchangeHash { // that of its first key exchange
		return fmt.Errorf("an identifier of a session with %d bytes", n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch _, twice := p.agents[a.Number]; {
	case p.agents == nil:
		return errLinkEnded
	case twice:
		return errors.New("there is an agent of that number")
	case len(p.agents) >= maxSSHAgents:
		return fmt.Errorf("%d agents were brought along, which is the limit", maxSSHAgents)
	}
	p.agents[a.Number] = p.service.agents.Attach(a.Name, a.ID, func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, a.Number) })
	return nil
}

func (p *sshProcess) detach(number uint64) {
	p.mu.Lock()
	detach := p.agents[number]
	delete(p.agents, number)
	p.mu.Unlock()
	if detach != nil {
		detach()
	}
}
