package sshagent

import (
	"bufio"
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

var kinds = []string{"ed25519", "ecdsa", "ecdsa-521", "rsa"}

func TestAgent(t *testing.T) {
	keys := testKeys()
	t.Run("ours", func(t *testing.T) {
		source := newSource(t, keys["ed25519"], keys["ecdsa"], keys["ecdsa-521"], keys["rsa"])
		testAgent(t, serve(t, &Server{Source: source, Idle: DefaultIdle}))
		source.check(t)
	})
	t.Run("ours, forgetting at once", func(t *testing.T) {
		source := newSource(t, keys["ed25519"], keys["ecdsa"], keys["ecdsa-521"], keys["rsa"])
		testAgent(t, serve(t, &Server{Source: source}))
		source.check(t)
	})
	t.Run("ours, upstream OpenSSH", func(t *testing.T) {
		path := opensshAgent(t)
		addKeys(t, path)
		testAgent(t, serve(t, &Server{Upstreams: []Upstream{{Name: "openssh", Dial: dialSocket(path)}}}))
	})
	t.Run("OpenSSH", func(t *testing.T) {
		path := opensshAgent(t)
		addKeys(t, path)
		testAgent(t, path)
	})
}

// opensshAgent runs OpenSSH's ssh-agent until the test ends, and returns the
// path of its socket; env is set for it.
func opensshAgent(t testing.TB, env ...string) string {
	t.Helper()
	path := filepath.Join(privateDir(t), "openssh.sock")
	cmd := exec.Command(need(t, "ssh-agent"), "-D", "-a", path)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it says so when it listens
		t.Fatalf("ssh-agent did not start: %v", err)
	}
	return path
}

// addKeys adds the keys that testAgent expects to an agent.
func addKeys(t testing.TB, path string) {
	t.Helper()
	for i, kind := range kinds {
		add(t, path, testKeys()[kind], fmt.Sprintf("key %d", i))
	}
}

func add(t testing.TB, path string, key crypto.Signer, comment string) {
	t.Helper()
	var private any = key
	if err := client(t, path).Add(agent.AddedKey{PrivateKey: private, Comment: comment}); err != nil {
		t.Fatalf("adding %s to OpenSSH's agent: %v", comment, err)
	}
}

// testAgent tests what every agent that has one key of each kind does alike.
func testAgent(t *testing.T, path string) {
	t.Run("list", func(t *testing.T) { testList(t, path) })
	t.Run("sign", func(t *testing.T) { testSign(t, path) })
	t.Run("refuse", func(t *testing.T) { testRefuse(t, path) })
	t.Run("frames", func(t *testing.T) { testFrames(t, path) })
	t.Run("end", func(t *testing.T) { testEnd(t, path) })
	t.Run("bind", func(t *testing.T) { testBind(t, path) })
	t.Run("many", func(t *testing.T) { testMany(t, path) })
}

func testList(t *testing.T, path string) {
	c := client(t, path)
	for range 2 {
		keys, err := c.List()
		if err != nil || len(keys) != len(kinds) {
			t.Fatalf("List = %d keys, %v; want %d", len(keys), err, len(kinds))
		}
		for i, kind := range kinds {
			if want := public(t, testKeys()[kind]).Marshal(); !bytes.Equal(keys[i].Blob, want) {
				t.Errorf("key %d is of kind %s; want the %s key that was added then", i, keys[i].Format, kind)
			}
			if want := fmt.Sprintf("key %d", i); keys[i].Comment != want {
				t.Errorf("the comment of key %d is %q; want %q", i, keys[i].Comment, want)
			}
		}
	}
}

func testSign(t *testing.T, path string) {
	c := client(t, path)
	for _, tt := range []struct {
		kind   string
		flags  agent.SignatureFlags
		format string
	}{
		{"ed25519", 0, "ssh-ed25519"},
		{"ed25519", 6, "ssh-ed25519"},
		{"ecdsa", 0, "ecdsa-sha2-nistp256"},
		{"ecdsa", 4, "ecdsa-sha2-nistp256"},
		{"ecdsa-521", 0, "ecdsa-sha2-nistp521"},
		{"rsa", 2, "rsa-sha2-256"},
		{"rsa", 4, "rsa-sha2-512"},
		{"rsa", 6, "rsa-sha2-256"},
	} {
		key := public(t, testKeys()[tt.kind])
		for _, size := range []int{1, 400, 100_000} {
			data := []byte(messageIn(strings.Repeat("x", size), "text"))
			sig, err := c.SignWithFlags(key, data, tt.flags)
			if err != nil {
				t.Errorf("signing %d bytes with %s, flags %d: %v", size, tt.kind, tt.flags, err)
				continue
			}
			if sig.Format != tt.format {
				t.Errorf("signing with %s, flags %d gave a signature of %s; want %s", tt.kind, tt.flags, sig.Format, tt.format)
			}
			if err := key.Verify(data, sig); err != nil {
				t.Errorf("the signature of %d bytes by %s, flags %d: %v", size, tt.kind, tt.flags, err)
			}
		}
	}
}

func testRefuse(t *testing.T, path string) {
	whole := signFrame(public(t, testKeys()["ed25519"]), message("data"), 0)
	sign := func(blob []byte) []byte {
		return append(appendString(appendString([]byte{agentSignRequest}, blob), message("data")), 0, 0, 0, 0)
	}
	conn := connect(t, path)
	for name, request := range map[string][]byte{
		"an unknown message":                 {200},
		"a list of SSH 1 keys":               {1},
		"an answer":                          {agentIdentitiesAnswer, 0, 0, 0, 0},
		"a signature by a key it lacks":      signFrame(public(t, newKey(t)), message("data"), 0),
		"a signature by an empty key":        sign(nil),
		"a signature by junk":                sign([]byte("junk")),
		"a sign request without flags":       whole[:len(whole)-4],
		"an empty sign request":              {agentSignRequest},
		"a sign request that lies of a size": {agentSignRequest, 255, 255, 255, 255, 1},
		"an unknown extension":               appendString([]byte{agentExtension}, "unknown@example.com"),
		"an extension without a name":        {agentExtension},
	} {
		if answer := exchange(t, conn, request); !bytes.Equal(answer, []byte{agentFailure}) {
			t.Errorf("%s was answered with %v; want a failure (5)", name, answer)
		}
	}
	if keys, err := agent.NewClient(conn).List(); err != nil || len(keys) != len(kinds) {
		t.Errorf("after refusals, List = %d keys, %v; want %d", len(keys), err, len(kinds))
	}
}

// signFrame makes a sign request.
func signFrame(key ssh.PublicKey, data string, flags uint32) []byte {
	b := appendString(appendString([]byte{agentSignRequest}, key.Marshal()), data)
	return binary.BigEndian.AppendUint32(b, flags)
}

// exchange sends a request and returns the answer.
func exchange(t testing.TB, conn net.Conn, request []byte) []byte {
	t.Helper()
	answer, err := tryExchange(conn, request)
	if err != nil {
		t.Fatalf("message %d: %v", request[0], err)
	}
	return answer
}

func tryExchange(conn net.Conn, request []byte) ([]byte, error) {
	if err := writeFrame(conn, framed(request)); err != nil {
		return nil, err
	}
	return tryReceive(conn)
}

func receive(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	answer, err := tryReceive(conn)
	if err != nil {
		t.Fatalf("the answer: %v", err)
	}
	return answer
}

func tryReceive(conn net.Conn) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < 1 || n > maxFrame {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	answer := make([]byte, n)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

func testFrames(t *testing.T, path string) {
	list := framed([]byte{agentRequestIdentities})
	list[3] = 1
	t.Run("byte by byte", func(t *testing.T) {
		conn := connect(t, path)
		for i := range list {
			if _, err := conn.Write(list[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if ids, ok := parseIdentities(receive(t, conn)); !ok || len(ids) != len(kinds) {
			t.Errorf("a request in single bytes got a list of %d keys; want %d", len(ids), len(kinds))
		}
	})
	t.Run("three at once", func(t *testing.T) {
		conn := connect(t, path)
		unknown := []byte{0, 0, 0, 1, 200}
		if _, err := conn.Write(bytes.Join([][]byte{list, unknown, list}, nil)); err != nil {
			t.Fatal(err)
		}
		for i, want := range []byte{agentIdentitiesAnswer, agentFailure, agentIdentitiesAnswer} {
			if answer := receive(t, conn); answer[0] != want {
				t.Errorf("answer %d is message %d; want %d", i, answer[0], want)
			}
		}
	})
	t.Run("longest", func(t *testing.T) {
		request := append([]byte{200}, make([]byte, 200_000)...)
		if answer := exchange(t, connect(t, path), request); !bytes.Equal(answer, []byte{agentFailure}) {
			t.Errorf("a long unknown message was answered with %v; want a failure (5)", answer)
		}
	})
}

// testEnd tests what ends a link.
func testEnd(t *testing.T, path string) {
	for name, bytes := range map[string][]byte{
		"an empty frame":     {0, 0, 0, 0, 11}, // OpenSSH looks when it has five bytes
		"a frame too long":   {0, 4, 0, 1, 11},
		"a frame far longer": {255, 255, 255, 255, 11},
	} {
		conn := connect(t, path)
		if _, err := conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %s, Read = %d, %v; want the link's end", name, n, err)
		}
	}
}

// testMany tests that clients do not get into each other's way.
func testMany(t *testing.T, path string) {
	var clients sync.WaitGroup
	for i := range 20 {
		kind := kinds[i%len(kinds)]
		key := public(t, testKeys()[kind])
		conn := connect(t, path)
		clients.Go(func() {
			c := agent.NewClient(conn)
			for n := range 5 {
				data := []byte(message(fmt.Sprintf("message %d of client %d", n, i)))
				sig, err := c.SignWithFlags(key, data, agent.SignatureFlagRsaSha512)
				if err == nil {
					err = key.Verify(data, sig)
				}
				if err != nil {
					t.Errorf("client %d of 20, %s: %v", i, kind, err)
				}
			}
		})
	}
	clients.Wait()
}

// bindRequest makes a bind; the host key signs signedID.
func bindRequest(t testing.TB, host ssh.Signer, id, signedID string, forwarding byte) []byte {
	t.Helper()
	sig, err := host.Sign(nil, []byte(signedID))
	if err != nil {
		t.Fatal(err)
	}
	b := appendString([]byte{agentExtension}, extSessionBind)
	b = appendString(b, host.PublicKey().Marshal())
	b = appendString(b, id)
	b = appendString(b, ssh.Marshal(sig))
	return append(b, forwarding)
}

func hostKey(t testing.TB, key crypto.Signer) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func testBind(t *testing.T, path string) {
	one, two := hostKey(t, newKey(t)), hostKey(t, testKeys()["ecdsa"])
	bind := func(host ssh.Signer, id string, forwarding byte) []byte {
		return bindRequest(t, host, id, id, forwarding)
	}
	forged := bindRequest(t, one, "id", "another id", 0)
	many := [][]byte{}
	for i := range maxBinds {
		many = append(many, bind(one, fmt.Sprintf("id %d", i), 1))
	}
	for _, tt := range []struct {
		name  string
		binds [][]byte // all but the last succeed
		ok    bool
	}{
		{"one", [][]byte{bind(one, "id", 0)}, true},
		{"by way of another", [][]byte{bind(one, "id 1", 1), bind(two, "id 2", 0)}, true},
		{"again", [][]byte{bind(one, "id", 1), bind(one, "id", 1)}, true},
		{"two sessions with a host", [][]byte{bind(one, "id 1", 1), bind(one, "id 2", 1)}, true},
		{"sixteen", many, true},
		{"seventeen", append(many[:len(many):len(many)], bind(two, "one more", 0)), false},
		{"after a login", [][]byte{bind(one, "id", 0), bind(two, "id 2", 0)}, false},
		{"another key for a session", [][]byte{bind(one, "id", 1), bind(two, "id", 1)}, false},
		{"forged", [][]byte{forged}, false},
		{"cut short", [][]byte{forged[:len(forged)-1]}, false},
		{"without a signature", [][]byte{appendString(appendString([]byte{agentExtension}, extSessionBind), one.PublicKey().Marshal())}, false},
		{"empty", [][]byte{appendString([]byte{agentExtension}, extSessionBind)}, false},
	} {
		conn := connect(t, path)
		for i, b := range tt.binds {
			answer := exchange(t, conn, b)
			// OpenSSH answers 28 from 10.3 on, before that 5.
			want, ok := "a failure (28 or 5)", answer[0] == agentExtensionFailure || answer[0] == agentFailure
			if tt.ok || i < len(tt.binds)-1 {
				want, ok = "success (6)", answer[0] == agentSuccess
			}
			if !ok || len(answer) != 1 {
				t.Errorf("%s: bind %d was answered with %v; want %s", tt.name, i, answer, want)
			}
		}
		if keys, err := agent.NewClient(conn).List(); err != nil || len(keys) != len(kinds) {
			t.Errorf("%s: after the binds, List = %d keys, %v; want %d", tt.name, len(keys), err, len(kinds))
		}
	}
}
