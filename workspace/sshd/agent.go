package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxAgentLinks bounds the links to the agent of one client, each of which is a
// channel of its connection.
const maxAgentLinks = 64

// bringAgent offers the agent of a client, once for all its sessions that bring
// it along ("auth-agent-req@openssh.com").
func (c *client) bringAgent(conn *ssh.ServerConn) bool {
	if c.server.Agents == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forwards == nil { // it has gone
		return false
	}
	if c.agents++; c.agents == 1 {
		remote := c.RemoteAddr().String()
		c.detach = c.server.Agents.Attach("ssh -A from "+remote, conn.SessionID(), agentDialer(conn))
	}
	return true
}

// releaseAgent takes the agent back when the last session that brought it ends.
func (c *client) releaseAgent() {
	c.mu.Lock()
	var detach func()
	if c.agents--; c.agents == 0 {
		detach, c.detach = c.detach, nil
	}
	c.mu.Unlock()
	if detach != nil {
		detach()
	}
}

// agentDialer dials a client's agent: each link is a channel of its own.
func agentDialer(conn *ssh.ServerConn) func(context.Context) (net.Conn, error) {
	places := make(chan struct{}, maxAgentLinks)
	return func(ctx context.Context) (net.Conn, error) {
		select {
		case places <- struct{}{}:
		default:
			return nil, fmt.Errorf("there are %d links to it already", maxAgentLinks)
		}
		type opened struct {
			channel ssh.Channel
			err     error
		}
		answer := make(chan opened, 1)
		go func() {
			channel, requests, err := conn.OpenChannel("auth-agent@openssh.com", nil)
			if err == nil {
				go ssh.DiscardRequests(requests)
			}
			answer <- opened{channel, err}
		}()
		leave := func() { <-places }
		select {
		case o := <-answer:
			if o.err != nil {
				leave()
				return nil, o.err
			}
			return &channelConn{Channel: o.channel, conn: conn, leave: leave}, nil
		case <-ctx.Done():
			go func() {
				defer leave()
				if o := <-answer; o.err == nil {
					o.channel.Close()
				}
			}()
			return nil, context.Cause(ctx)
		}
	}
}

// A channelConn is a channel as a net.Conn without deadlines.
type channelConn struct {
	ssh.Channel
	conn    *ssh.ServerConn
	leave   func()
	leaving sync.Once
}

func (c *channelConn) Close() error {
	c.leaving.Do(c.leave)
	return c.Channel.Close()
}

func (c *channelConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c *channelConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

var errNoDeadline = errors.New("a channel has no deadlines")

func (c *channelConn) SetDeadline(time.Time) error      { return errNoDeadline }
func (c *channelConn) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (c *channelConn) SetWriteDeadline(time.Time) error { return errNoDeadline }
