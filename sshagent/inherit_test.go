package sshagent

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInherit(t *testing.T) {
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "agent.sock")
	opened, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	file := func(l interface{ File() (*os.File, error) }) *os.File {
		t.Helper()
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	l, err := Inherit(file(opened.(*net.UnixListener)), path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("after Close, the socket is gone: %v", err)
	}

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	plain, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "datagram")})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	for _, tt := range []struct {
		file *os.File
		path string
		want string
	}{
		{plain, path, "not a socket"},
		{file(tcp.(*net.TCPListener)), path, "not a unix socket"},
		{file(datagram), filepath.Join(dir, "datagram"), "not a stream socket"},
		{file(conn.(*net.UnixConn)), path, "does not listen"},
		{file(opened.(*net.UnixListener)), filepath.Join(dir, "other.sock"), "where no program looks for it"},
	} {
		if l, err := Inherit(tt.file, tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Inherit = %v, %v; want %q", l, err, tt.want)
		}
	}
}
