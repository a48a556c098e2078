package sshd

import (
	"time"

	"golang.org/x/crypto/ssh"
)

// A client that is asleep, or whose network has gone, ends no connection: TCP
// would keep it for hours, with its agent, that everybody then waits for, and
// with the ports that it wants again when it comes back. So who says nothing is
// asked, as OpenSSH does with ClientAliveInterval and ClientAliveCountMax.
const (
	aliveInterval = 15 * time.Second
	aliveCount    = 3 // intervals without a word since it was first asked
)

// Read notes that something came from the client.
func (c *client) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Add(1)
	}
	return n, err
}

// watch asks a client that is silent whether it is there, and ends its connection
// if nothing comes. Whatever comes will do, for some answer no such requests. conn
// returns nil until the login is over. watch ends with the connection.
func (c *client) watch(conn func() *ssh.ServerConn) {
	interval := time.NewTicker(aliveInterval)
	defer interval.Stop()
	// One request is enough: what it went over loses nothing, and SendRequest
	// would not send a second one before it has the answer to the first.
	asking := make(chan struct{}, 1)
	defer func() { asking <- struct{}{} }()
	var heard uint64
	for silent := 0; ; {
		select {
		case <-c.gone:
			return
		case <-interval.C:
		}
		if now := c.heard.Load(); now != heard {
			heard, silent = now, 0
			continue
		}
		if silent == aliveCount {
			c.server.Log.Warn("SSH connection ended: the client does not answer", "key", ssh.FingerprintSHA256(c.key), "remote", c.RemoteAddr().String())
			c.Conn.Close()
			return
		}
		silent++
		select {
		case asking <- struct{}{}:
			// Not here: it does not return while the client takes nothing.
			go func() {
				if conn := conn(); conn != nil {
					conn.SendRequest("keepalive@openssh.com", true, nil)
				}
				<-asking
			}()
		default:
		}
	}
}
