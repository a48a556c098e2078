package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

const (
	// hostsFresh is how long a list is used before the server is asked whether
	// it has changed: ssh asks two or three times for one connection.
	hostsFresh = time.Second

	// hostsTimeout bounds the question, for which ssh waits, and hostsPause is how
	// long a server is left alone that gave no answer.
	hostsTimeout = 3 * time.Second
	hostsPause   = 15 * time.Second

	maxHostLines = 16 << 20 // bytes of an answer: 10000 lines of some 700
)

// KnownHosts are the known hosts that a workspace's server distributes. The last
// list serves while the server is away. It is an http.Handler, which answers
// [ReadKnownHosts].
type KnownHosts struct {
	client *api.Client

	mu    sync.Mutex // held while the server is asked: whoever comes meanwhile takes its answer
	list  []api.KnownHost
	tag   string
	known bool      // there is a list
	asked time.Time // when the server was last asked
	err   error     // why it last gave no answer
}

// NewKnownHosts asks nothing yet.
func NewKnownHosts(client *api.Client) *KnownHosts { return &KnownHosts{client: client} }

// Lines are those of a known_hosts file that may be about a host, named as ssh
// looks for it there; all of them for "". The error is the server's, of which
// there is no list.
func (k *KnownHosts) Lines(ctx context.Context, host string) ([]byte, error) {
	list, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	return HostLines(list, host), nil
}

// HostLines are the lines of a list as [KnownHosts.Lines] has them.
func HostLines(list []api.KnownHost, host string) []byte {
	var lines bytes.Buffer
	for _, h := range list {
		if host == "" || knownhost.MayMatch(h.Hosts, host) {
			lines.WriteString(knownhost.Format(h.Marker, h.Hosts, h.KeyType, h.Key, h.Comment) + "\n")
		}
	}
	return lines.Bytes()
}

// current is the list. It is replaced, and never changed.
func (k *KnownHosts) current(ctx context.Context) ([]api.KnownHost, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pause := hostsFresh
	if k.err != nil {
		pause = hostsPause
	}
	if k.asked.IsZero() || time.Since(k.asked) >= pause {
		k.ask(context.WithoutCancel(ctx)) // an answer is of use to others also if this caller has gone
	}
	if !k.known {
		return nil, k.err
	}
	return k.list, nil
}

// ask asks the server for the list. mu is held.
func (k *KnownHosts) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, hostsTimeout)
	defer cancel()
	list, tag, changed, err := k.client.WorkspaceKnownHosts(ctx, k.tag)
	if errors.Is(err, api.ErrNotFound) { // of a server from before there were any
		list, tag, changed, err = nil, "", true, nil
	}
	k.asked, k.err = time.Now(), err
	if err == nil && changed {
		k.list, k.tag, k.known = list, tag, true
	}
}

// refresh asks the server for the list, however lately it was asked.
func (k *KnownHosts) refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ask(ctx)
	return k.err
}

// anyHost is asked for to hear only how many lines there are.
const anyHost = "any"

// ServeHTTP answers with the lines for the host that the query names, or with
// their number.
func (k *KnownHosts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var lines []byte
	var err error
	if q := r.URL.Query(); q.Has(anyHost) {
		var list []api.KnownHost
		list, err = k.current(r.Context())
		lines = fmt.Appendln(nil, len(list))
	} else {
		lines, err = k.Lines(r.Context(), q.Get("host"))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(lines) // an error is the caller's, who has gone
}

// ReadKnownHosts asks whoever serves a [KnownHosts] on a unix socket, as
// [KnownHosts.Lines] does. [NotRunning] says of an error that nobody does.
func ReadKnownHosts(ctx context.Context, socket, host string) ([]byte, error) {
	text, err := askSocket(ctx, socket, "/known-hosts?"+url.Values{"host": {host}}.Encode(), maxHostLines)
	if err != nil {
		return nil, fmt.Errorf("asking for known hosts: %w", err)
	}
	return text, nil
}

// AnyKnownHosts asks the daemon of a runtime directory whether there are any: it
// says no only if it is certain.
func AnyKnownHosts(ctx context.Context, dir string) bool {
	if CheckRuntimeDir(dir) != nil {
		return true
	}
	count, err := askSocket(ctx, ControlSocket(dir), "/known-hosts?"+anyHost, maxState)
	return err != nil || string(count) != "0\n"
}
