package sshd

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// dialTime bounds how long the other end of a forwarded connection may take.
const dialTime = 30 * time.Second

// forwardTCP answers "direct-tcpip" (RFC 4254, section 7.2): ssh -L, -D, -W, -J.
func (s *Server) forwardTCP(_ *gliderlabs.Server, _ *ssh.ServerConn, asked ssh.NewChannel, ctx gliderlabs.Context) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(asked.ExtraData(), &to) != nil || to.Port > 65535 {
		asked.Reject(ssh.ConnectionFailed, "malformed request")
		return
	}
	s.forward(ctx, asked, "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
}

// forwardSocket answers "direct-streamlocal@openssh.com" (OpenSSH's PROTOCOL,
// section 2.4).
func (s *Server) forwardSocket(_ *gliderlabs.Server, _ *ssh.ServerConn, asked ssh.NewChannel, ctx gliderlabs.Context) {
	var to struct {
		Path     string
		Reserved string
		Zero     uint32
	}
	// "@name" would be a socket that has no file, so no permissions.
	if ssh.Unmarshal(asked.ExtraData(), &to) != nil || !strings.HasPrefix(to.Path, "/") {
		asked.Reject(ssh.ConnectionFailed, "the path of the socket must begin with /")
		return
	}
	s.forward(ctx, asked, "unix", to.Path)
}

func (s *Server) forward(ctx context.Context, asked ssh.NewChannel, network, address string) {
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, address)
	if err != nil {
		s.Log.Debug("connection not forwarded", "to", address, "err", err)
		asked.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := asked.Accept()
	if err != nil {
		conn.Close()
		return
	}
	join(ctx, channel, requests, conn)
}

// join copies between a channel and a connection, until both sides have ended.
// One that ends first only stops sending.
func join(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request, conn net.Conn) {
	defer conn.Close()
	defer channel.Close()
	// Of a client that is gone, nothing more will be read.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var toConn, toChannel, watching sync.WaitGroup
	toConn.Go(func() {
		io.Copy(conn, channel)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	})
	toChannel.Go(func() {
		io.Copy(channel, conn)
		channel.CloseWrite()
	})
	watching.Go(func() {
		ssh.DiscardRequests(requests) // until the channel is closed
		toConn.Wait()                 // what was sent before
		conn.Close()
	})
	toChannel.Wait()
	toConn.Wait()
	channel.Close()
	watching.Wait()
}
