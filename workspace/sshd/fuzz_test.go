package sshd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// FuzzModes holds what is read of a list of modes against the list.
func FuzzModes(f *testing.F) {
	f.Add("\x01\x00\x00\x00\x03\x35\x00\x00\x00\x00\x00")
	f.Add("\x01\x00\x00")
	f.Add("\x35\x00\x00\x00\x01")
	f.Add("\x80\x00\x00\x96\x00\xa0\x00\x00\x00\x01\x35\x00\x00\x00\x01")
	f.Add("\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00\x35\x00\x00\x00\x01")
	f.Fuzz(func(t *testing.T, list string) {
		want := make(map[byte]uint32)
		for i := 0; i+5 <= len(list) && list[i] != 0 && list[i] < 160; i += 5 {
			want[list[i]] = binary.BigEndian.Uint32([]byte(list[i+1 : i+5]))
		}
		if got := modesOf(list); !maps.Equal(got, want) {
			t.Errorf("%q reads as %v; want %v", list, got, want)
		}
	})
}

// What a client sends of a session (RFC 4254, section 6).
type (
	sent struct {
		Type    string
		Payload []byte
	}
	variable struct{ Name, Value string }
	text     struct{ Text string }
	screen   struct {
		Term  string
		Size  size `ssh:"-"`
		Modes string
	}
)

func (s screen) marshal() []byte {
	return slices.Concat(ssh.Marshal(text{s.Term}), ssh.Marshal(s.Size), ssh.Marshal(text{s.Modes}))
}

// settable are the names of variables that a client may set.
var settable = regexp.MustCompile(`^(LANG|LANGUAGE|COLORTERM|NO_COLOR|GIT_PROTOCOL|LC_[A-Z_]+)$`)

// FuzzSession sends a session whatever there is, until a program is to be started.
// What is done must be all that was sent, within the bounds, and in time.
func FuzzSession(f *testing.F) {
	pty := sent{"pty-req", screen{"xterm", size{80, 24, 0, 0}, "\x35\x00\x00\x00\x00\x00"}.marshal()}
	lang := sent{"env", ssh.Marshal(variable{"LANG", "C.UTF-8"})}
	for _, requests := range [][]sent{
		{pty, {"window-change", ssh.Marshal(size{132, 50, 640, 480})}, lang, {"shell", nil}},
		{lang, {"exec", ssh.Marshal(text{"git-upload-pack x"})}, lang, pty, {"exec", ssh.Marshal(text{"true"})}},
		{{"subsystem", ssh.Marshal(text{"sftp"})}, {"signal", ssh.Marshal(text{"TERM"})}},
		{pty, pty, {"window-change", append(ssh.Marshal(size{1, 1, 1, 1}), 0)}},
		{{"window-change", ssh.Marshal(size{80, 24, 0, 0})}, {"auth-agent-req@openssh.com", nil}, {"x11-req", nil}},
		slices.Repeat([]sent{lang}, maxVariables+1),
		{{"env", ssh.Marshal(variable{"BASH_ENV", "x"})}, {"env", ssh.Marshal(variable{"LC_x", "x"})}, {"env", append(lang.Payload, 0)}},
		{{"env", ssh.Marshal(variable{"LC_ALL", "x\x00"})}, {"env", ssh.Marshal(variable{"LC_ALL", strings.Repeat("x", maxVariable)})}},
		{{"pty-req", screen{"xterm\x00", size{}, ""}.marshal()}, {"pty-req", append(pty.Payload, 0)}},
		{{"exec", ssh.Marshal(text{"true\x00"})}, {"exec", append(ssh.Marshal(text{"true"}), 0)}},
		{{"subsystem", ssh.Marshal(text{"netconf"})}, {"subsystem", append(ssh.Marshal(text{"sftp"}), 0)}},
	} {
		var all []byte
		for _, r := range requests {
			all = append(all, ssh.Marshal(r)...)
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, all []byte) {
		s := fuzzedSession()
		defer s.close()
		for {
			var r struct {
				Type    string
				Payload []byte
				Rest    []byte `ssh:"rest"`
			}
			if ssh.Unmarshal(all, &r) != nil {
				return
			}
			all = r.Rest
			if err := s.try(r.Type, r.Payload); err != nil {
				t.Errorf("%s %q: %v", r.Type, r.Payload, err)
			}
		}
	})
}

// A triedSession is a session whose programs are not started.
type triedSession struct {
	session
	started []*exec.Cmd
}

func fuzzedSession() *triedSession {
	s := &triedSession{}
	s.server = &Server{
		Account: Account{Name: "alice", Home: "/", Shell: "/bin/sh"}, SFTP: []string{"/usr/lib/sftp-server", "-e"},
		Log: slog.New(slog.DiscardHandler),
		Start: func(cmd *exec.Cmd) error {
			s.started = append(s.started, cmd)
			return errors.New("not here")
		},
	}
	conn, _ := net.Pipe()
	s.client = &client{Conn: conn, server: s.server}
	return s
}

func (s *triedSession) close() {
	if s.terminal != nil {
		s.terminal.close()
	}
}

// try sends a request, and says what is wrong with how it was answered.
func (s *triedSession) try(kind string, payload []byte) error {
	begun, set, had, starts := s.program != nil, len(s.variables), s.terminal != nil, len(s.started)
	ok := s.answer(nil, &ssh.Request{Type: kind, Payload: payload})
	if len(s.started) > starts {
		s.program = &program{exited: true} // as if it had been
	}
	var want []byte // what it is read as
	switch {
	case begun && (len(s.started) > starts || len(s.variables) > set || s.terminal != nil && !had):
		return errors.New("it was done after the program began")
	case len(s.started) > starts:
		return s.isStarted(s.started[starts], kind, payload)
	case !ok:
		if len(s.variables) > set || s.terminal != nil && !had {
			return errors.New("it was refused, and done")
		}
		return nil
	case kind == "env":
		v := s.variables[len(s.variables)-1]
		name, value, _ := strings.Cut(v, "=")
		if want = ssh.Marshal(variable{name, value}); !settable.MatchString(name) || strings.Contains(v, "\x00") || len(v) > maxVariable || len(s.variables) > maxVariables {
			return fmt.Errorf("variable %d, %q, was set", len(s.variables), v)
		}
	case kind == "pty-req":
		var r struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}
		ssh.Unmarshal(payload, &r)
		if want = (screen{s.terminal.name, size{r.Columns, r.Rows, r.Width, r.Height}, r.Modes}).marshal(); strings.Contains(r.Term, "\x00") || had {
			return errors.New("it has opened a terminal")
		}
		if err := s.hasSize(size{r.Columns, r.Rows, r.Width, r.Height}); err != nil {
			return err
		}
	case kind == "window-change":
		var to size
		ssh.Unmarshal(payload, &to)
		if want = ssh.Marshal(to); !had {
			return errors.New("there is no terminal")
		}
		if err := s.hasSize(to); err != nil {
			return err
		}
	default:
		return errors.New("it was done")
	}
	if !bytes.Equal(want, payload) {
		return fmt.Errorf("it reads as %q", want)
	}
	return nil
}

func (s *triedSession) hasSize(want size) error {
	return control(s.terminal.master, func(fd int) error {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil && *w != (unix.Winsize{Row: uint16(want.Rows), Col: uint16(want.Columns), Xpixel: uint16(want.Width), Ypixel: uint16(want.Height)}) {
			err = fmt.Errorf("the terminal's size is %+v", *w)
		}
		return err
	})
}

// isStarted says what is wrong with a program that is to be started.
func (s *triedSession) isStarted(cmd *exec.Cmd, kind string, payload []byte) error {
	want := map[string][]string{
		"shell":     {"/bin/sh", "-sh"},
		"exec":      {"/bin/sh", "sh", "-c", ""},
		"subsystem": {"/usr/lib/sftp-server", "latchkey", "-e"},
	}[kind]
	if kind == "exec" {
		want[3] = cmd.Args[len(cmd.Args)-1]
	}
	if got := append([]string{cmd.Path}, cmd.Args...); !slices.Equal(got, want) {
		return fmt.Errorf("it starts %q; want %q", got, want)
	}
	if kind == "exec" && !bytes.Equal(ssh.Marshal(text{want[3]}), payload) || kind == "subsystem" && !bytes.Equal(ssh.Marshal(text{"sftp"}), payload) {
		return fmt.Errorf("it starts %q", cmd.Args)
	}
	if all := append(slices.Clone(cmd.Args), cmd.Env...); strings.Contains(strings.Join(all, ""), "\x00") {
		return fmt.Errorf("a zero byte is in %q", all)
	}
	for _, v := range []string{"USER=alice", "LOGNAME=alice", "HOME=/", "SHELL=/bin/sh"} {
		name, _, _ := strings.Cut(v, "=")
		is := func(v string) bool { return strings.HasPrefix(v, name+"=") }
		if i := slices.IndexFunc(cmd.Env, is); i < 0 || cmd.Env[i] != v || slices.ContainsFunc(cmd.Env[i+1:], is) {
			return fmt.Errorf("%s is not once in %q", v, cmd.Env)
		}
	}
	return nil
}
