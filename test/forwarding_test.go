package test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A journey is a workspace whose user goes to the host a with their agent, and
// from there to b. The host c is none of a's business. All three let the managed
// key in.
type journey struct {
	*workspace
	a, b, c *sshd
	config  string // of ssh
}

func newJourney(t *testing.T) *journey {
	t.Helper()
	j := &journey{a: startSSHD(t, nil), b: startSSHD(t, nil), c: startSSHD(t, nil)}
	u := startServer(t, nil).newUser(t, "ada", nil)
	j.workspace = u.newWorkspace(t, "dev", nil)
	// The way to a is open whatever the policy: by a key that no agent has.
	private, public := newKey(t)
	own := j.Write(t, "own", string(private))
	j.config = j.Reaches(t, j.a.host("way", "IdentitiesOnly yes", "IdentityFile "+own), j.a.host("a"), j.b.host("b"), j.c.host("c"))
	for _, host := range []*sshd{j.a, j.b, j.c} {
		host.Authorize(t, u.publicKey(t))
	}
	j.a.Authorize(t, u.publicKey(t), public)
	j.StartDaemon(t)
	return j
}

// allows sets the policy of the managed key.
func (j *journey) allows(t *testing.T, refuseForwarded bool, hosts ...*sshd) {
	t.Helper()
	list := []api.KeyHost{}
	for i, h := range hosts {
		list = append(list, api.KeyHost{Name: fmt.Sprint("host", i), Fingerprint: fingerprintOf(t, h.HostKey)})
	}
	if _, err := j.user.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &list, RefuseForwarded: &refuseForwarded}); err != nil {
		t.Fatal(err)
	}
}

// onA runs a command on a, to which the user brings the agent.
func (j *journey) onA(t *testing.T, command string) (output string, err error) {
	t.Helper()
	return j.Try(t, "ssh", "-F", j.config, "-A", "way", command)
}

// What a key's policy allows works along the way, with OpenSSH's own programs, and
// what it does not is not even listed there.
func TestForwardedAgent(t *testing.T) {
	j := newJourney(t)
	fingerprint := fingerprintOf(t, j.user.publicKey(t))
	for _, tt := range []struct {
		name            string
		refuseForwarded bool
		hosts           []*sshd
		direct, from    string // the hosts that the key logs in to, from the workspace and from a
		listed          bool   // on a
	}{
		{"no policy", false, nil, "abc", "abc", true},
		{"a and b", false, []*sshd{j.a, j.b}, "ab", "ab", true},
		{"a and b, no forwarding", true, []*sshd{j.a, j.b}, "ab", "", false},
		{"no forwarding", true, nil, "abc", "", false},
		{"b", false, []*sshd{j.b}, "b", "b", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j.allows(t, tt.refuseForwarded, tt.hosts...)
			out, err := j.onA(t, "ssh-add -l")
			if strings.Contains(out, fingerprint) != tt.listed {
				t.Errorf("ssh-add -l on a: %v\n%s\nwant the key in it: %t", err, out, tt.listed)
			}
			for name, host := range map[string]*sshd{"a": j.a, "b": j.b, "c": j.c} {
				for from, run := range map[string]func(string) (string, error){
					"the workspace": func(s string) (string, error) { return j.Try(t, "sh", "-c", s) },
					"a":             func(s string) (string, error) { return j.onA(t, s) },
				} {
					before := len(host.Log(t))
					out, err := run("ssh -F " + j.config + " " + name + " true")
					hosts := tt.direct
					if from == "a" {
						hosts = tt.from
					}
					offered := strings.Contains(host.Log(t)[before:], fingerprint)
					if want := strings.Contains(hosts, name); want != (err == nil) || want != offered {
						t.Errorf("ssh from %s to %s: %v, offered the key: %t; want both: %t\n%s", from, name, err, offered, want, out)
					}
				}
			}
			const why = "the key does not sign for a forwarded agent"
			if out := j.Run(t, "latchkey", "status"); strings.Contains(out, why) != tt.refuseForwarded {
				t.Errorf("latchkey status says why the key was not to be had on a: %t; want: %t\n%s", !tt.refuseForwarded, tt.refuseForwarded, out)
			}
		})
	}
}

// A host that is hostile speaks to the agent that was brought to it on its own
// terms. It has its own host key, can log in to others in the user's place, and
// knows all there is to know of c but its private key.
func TestHostileHost(t *testing.T) {
	j := newJourney(t)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(j.user.publicKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	socket := j.bringAgent(t)
	hostKey := func(s *sshd) ssh.Signer {
		signer, err := ssh.ParsePrivateKey([]byte(readFile(t, filepath.Join(s.Dir, "host_key"))))
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
	dial := func() agent.ExtendedAgent {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return agent.NewClient(c)
	}
	listed := func(a agent.Agent) bool {
		keys, err := a.List()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(keys, func(k *agent.Key) bool { return string(k.Blob) == string(key.Marshal()) })
	}
	// relay logs in to a host in the user's place, by a login that does not name the
	// host, after a has passed the session for one of its own.
	relay := func(to *sshd) error {
		client, err := ssh.Dial("tcp", fmt.Sprint("127.0.0.1:", to.Port), &ssh.ClientConfig{
			User:            to.User,
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint: a hostile host does not care
			Auth:            []ssh.AuthMethod{ssh.PublicKeys(&relayed{key, dial(), hostKey(j.a)})},
		})
		if err != nil {
			return err
		}
		return client.Close()
	}
	signs := func(bindTo ssh.Signer, data []byte) error {
		a := dial()
		if bindTo != nil {
			if err := bind(a, bindTo, []byte("session")); err != nil {
				t.Fatal(err)
			}
		}
		_, err := a.Sign(key, data)
		return err
	}
	sigOf := func(namespace string) []byte {
		return append([]byte("SSHSIG"), ssh.Marshal(struct {
			Namespace, Reserved, Algorithm string
			Hash                           []byte
		}{namespace, "", "sha256", make([]byte, 32)})...)
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: it succeeded; want it refused", what)
		}
	}

	// Without a policy a can do what the user can: the attack is a real one.
	if err := relay(j.c); err != nil {
		t.Errorf("the relay to c, the key without a policy: %v; want a login", err)
	}

	j.allows(t, false, j.a, j.b)
	refused("a relays the user to c", relay(j.c))
	refused("a relays the user to b without naming it", relay(j.b))
	refused("a login to c that names it", signs(nil, loginTo(key, j.c.User, hostKey(j.c).PublicKey())))
	refused("a login to c that names it, on a connection bound to c", signs(hostKey(j.c), loginTo(key, j.c.User, hostKey(j.c).PublicKey())))
	refused("a login that names nobody", signs(nil, loginTo(key, j.c.User, nil)))
	refused("a login that names nobody, in a session that a has signed", signs(hostKey(j.a), loginTo(key, j.c.User, nil)))
	refused("a login that names nobody, in a session that b has signed", signs(hostKey(j.b), loginTo(key, j.c.User, nil)))
	refused("bytes", signs(nil, []byte("the bytes of something else")))
	refused("a file", signs(nil, sigOf("file")))
	refused("a commit, which is no login to a host of the policy", signs(nil, sigOf("git")))
	if err := signs(hostKey(j.b), loginTo(key, j.b.User, hostKey(j.b).PublicKey())); err != nil {
		t.Errorf("a login to b, which the policy allows: %v", err)
	}
	toC, forged := dial(), dial()
	if err := bind(toC, hostKey(j.c), []byte("session")); err != nil || listed(toC) {
		t.Errorf("bound to c: %v, listed %t; want the key left out", err, listed(toC))
	}
	if err := bind(forged, &lying{hostKey(j.b).PublicKey(), hostKey(j.a)}, []byte("session")); err == nil {
		t.Error("a bind to b that a has signed was taken")
	}
	if _, err := forged.Sign(key, loginTo(key, j.c.User, nil)); err == nil {
		t.Error("after a forged bind a login that names nobody was signed")
	}
	refused("removing the managed key", dial().Remove(key))
	refused("removing all keys", dial().RemoveAll())
	refused("locking the agent", dial().Lock([]byte("password")))
	if !listed(dial()) {
		t.Error("after that the managed key is not listed any more")
	}

	j.allows(t, true)
	for name, data := range map[string][]byte{
		"a login to a": loginTo(key, j.a.User, hostKey(j.a).PublicKey()),
		"a commit":     sigOf("git"),
	} {
		refused(name+", the agent not for forwarding", signs(nil, data))
	}
	refused("a relays the user to c, the agent not for forwarding", relay(j.c))
	if listed(dial()) {
		t.Error("a key that is not for forwarded agents is listed to one")
	}
}

// bringAgent opens a session on a that brings the agent along, and returns its
// socket there.
func (j *journey) bringAgent(t *testing.T) (socket string) {
	t.Helper()
	cmd := j.Command(t, "ssh", "-F", j.config, "-A", "way", "echo socket=$SSH_AUTH_SOCK; cat")
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	_, said := start(t, cmd, regexp.MustCompile(`socket=(\S+)`))
	t.Cleanup(func() { hold.Close() })
	return said[1]
}

// loginTo is the data of a login with key. A nil host is not named.
func loginTo(key ssh.PublicKey, user string, host ssh.PublicKey) []byte {
	data := ssh.Marshal(struct {
		Session               string
		Message               byte
		User, Service, Method string
		Signed                bool
		Algorithm             string
		Key                   []byte
	}{"session", 50, user, "ssh-connection", map[bool]string{true: "publickey", false: "publickey-hostbound-v00@openssh.com"}[host == nil], true, key.Type(), key.Marshal()})
	if host != nil {
		data = append(data, ssh.Marshal(struct{ Key []byte }{host.Marshal()})...)
	}
	return data
}

// bind says on a connection that it is for a login in a session with a host.
func bind(a agent.ExtendedAgent, host ssh.Signer, session []byte) error {
	sig, err := host.Sign(rand.Reader, session)
	if err != nil {
		return err
	}
	_, err = a.Extension("session-bind@openssh.com", ssh.Marshal(struct {
		HostKey, Session, Signature []byte
		Forwarding                  bool
	}{host.PublicKey().Marshal(), session, ssh.Marshal(sig), false}))
	return err
}

// A relayed key binds the session of what it is to sign to a host that is not the
// session's, and has an agent sign.
type relayed struct {
	key   ssh.PublicKey
	agent agent.ExtendedAgent
	host  ssh.Signer
}

func (r *relayed) PublicKey() ssh.PublicKey { return r.key }

func (r *relayed) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	var login struct {
		Session []byte
		Rest    []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(data, &login); err != nil {
		return nil, err
	}
	if err := bind(r.agent, r.host, login.Session); err != nil {
		return nil, errors.Join(errors.New("binding"), err)
	}
	return r.agent.Sign(r.key, data)
}

// A lying host signs with a key that is not the one it shows.
type lying struct {
	shown ssh.PublicKey
	ssh.Signer
}

func (l *lying) PublicKey() ssh.PublicKey { return l.shown }
