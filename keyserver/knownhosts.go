package keyserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

// maxKnownHosts bounds the lines that there are: every workspace gets all of
// them. Two admins at once can go over it, by what one request may add.
const maxKnownHosts = 10000

// knownHosts are the stored ones as they are sent, read again when their
// revision is another: each connection of each workspace asks.
type knownHosts struct {
	mu       sync.Mutex
	revision int64
	tag      string // of list, in quotes (RFC 9110, section 8.8.3); "": nothing was read
	list     []api.KnownHost
	names    map[string]string // of list: the first name of a key, by its fingerprint
}

// current is the list and its tag. A tag is of what the list holds: a revision
// could come again, after a backup was restored.
func (k *knownHosts) current(ctx context.Context, store KnownHostStore) ([]api.KnownHost, string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read(ctx, store)
}

// name is what the known hosts call the host with a key, by its fingerprint: "" if
// they do not name it, or only hashed.
func (k *knownHosts) name(ctx context.Context, store KnownHostStore, fingerprint string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _, err := k.read(ctx, store)
	return k.names[fingerprint], err
}

// read is current, for whoever holds mu.
func (k *knownHosts) read(ctx context.Context, store KnownHostStore) ([]api.KnownHost, string, error) {
	const doing = "reading the known hosts: %w"
	if k.tag != "" {
		revision, err := store.KnownHostsRevision(ctx)
		if err != nil {
			return nil, "", fmt.Errorf(doing, err)
		}
		if revision == k.revision {
			return k.list, k.tag, nil
		}
	}
	stored, revision, err := store.KnownHosts(ctx)
	if err != nil {
		return nil, "", fmt.Errorf(doing, err)
	}
	list := wireAll(stored, wireKnownHost)
	text, err := json.Marshal(list)
	if err != nil {
		return nil, "", fmt.Errorf(doing, err)
	}
	sum := sha256.Sum256(text)
	k.revision, k.list, k.tag = revision, list, `"`+hex.EncodeToString(sum[:16])+`"`
	k.names = map[string]string{}
	for _, h := range list {
		if _, named := k.names[h.Fingerprint]; !named && h.Marker == "" {
			k.names[h.Fingerprint] = firstName(h.Hosts)
		}
	}
	return k.list, k.tag, nil
}

// firstName is the first of a line's names and patterns, "" of a hashed one.
func firstName(hosts string) string {
	for name := range strings.SplitSeq(hosts, ",") {
		if !strings.HasPrefix(name, "!") && !strings.HasPrefix(name, "|") {
			return name
		}
	}
	return ""
}

func wireKnownHost(h KnownHost) api.KnownHost {
	return api.KnownHost{
		ID: string(h.ID), Marker: h.Marker, Hosts: h.Hosts, KeyType: h.KeyType, Key: h.Key,
		Fingerprint: knownhost.Line{Key: h.Key}.Fingerprint(), Comment: h.Comment,
		CreatedAt: h.CreatedAt, CreatedBy: string(h.CreatedBy),
	}
}

// knownHostsRoute is a route that lists the known hosts, and answers 304 to
// whoever has them. They are public, so reading them is not recorded.
func knownHostsRoute(pattern string, who Access) Route {
	return Route{
		Method: "GET", Pattern: pattern, Access: who, Action: "knownhost.list", Does: "list the known hosts",
		Response: []api.KnownHost{}, Status: http.StatusOK, serve: (*Server).serveKnownHosts,
	}
}

func (s *Server) serveKnownHosts(ctx context.Context, a *answer, c *call) error {
	if err := c.decode(nil); err != nil {
		return err
	}
	list, tag, err := s.known.current(ctx, s.store)
	if err != nil {
		return err
	}
	a.Header().Set("Cache-Control", "private, no-cache") // kept, but not used before it was asked for
	a.Header().Set("ETag", tag)
	if c.http.Header.Get("If-None-Match") == tag {
		a.WriteHeader(http.StatusNotModified)
		return nil
	}
	return a.send(http.StatusOK, list)
}

func (s *Server) addKnownHosts(ctx context.Context, c *call, in api.AddKnownHostsRequest) ([]api.KnownHost, error) {
	lines, err := parseKnownHosts(in.Content)
	if err != nil {
		return nil, err
	}
	if err := s.newKnownHosts(ctx, lines); err != nil {
		return nil, err
	}
	hosts := make([]KnownHost, len(lines))
	names := make([]string, len(lines))
	for i, l := range lines {
		hosts[i] = KnownHost{
			ID: KnownHostID(newID()), Marker: l.Marker, Hosts: l.Hosts, KeyType: l.Type, Key: l.Key,
			Comment: l.Comment, CreatedAt: c.at, CreatedBy: c.user.ID,
		}
		names[i] = knownHostName(hosts[i])
	}
	e := c.event("known hosts")
	e.TargetID = "" // they are nobody's
	e.Detail = bounded(fmt.Sprintf("%d lines", len(lines)), names)
	err = s.store.AddKnownHosts(ctx, hosts, e)
	if errors.Is(err, api.ErrConflict) { // somebody was faster
		if err := s.newKnownHosts(ctx, lines); err != nil {
			return nil, err
		}
		return nil, refusal(api.ErrConflict, "try again", "the known hosts were changed at the same time")
	}
	if err != nil {
		return nil, fmt.Errorf("storing known hosts: %w", err)
	}
	return wireAll(hosts, wireKnownHost), nil
}

const notAdded = "the known hosts can't be added"

func parseKnownHosts(content string) ([]knownhost.Line, error) {
	p := problems{todo: "nothing was added"}
	lines, err := knownhost.Parse([]byte(content))
	var bad *knownhost.Error
	switch {
	case errors.As(err, &bad):
		for _, b := range bad.Problems {
			p.add("content", "%s", b)
		}
	case err != nil:
		return nil, fmt.Errorf("reading known hosts: %w", err)
	case len(lines) == 0:
		p.add("content", "holds no lines")
	}
	return lines, p.err(notAdded)
}

// newKnownHosts refuses lines that are there already, and too many.
func (s *Server) newKnownHosts(ctx context.Context, lines []knownhost.Line) error {
	list, _, err := s.known.current(ctx, s.store)
	if err != nil {
		return err
	}
	if n := len(list) + len(lines); n > maxKnownHosts {
		var p problems
		p.todo = "delete what is of no use any more"
		p.add("content", "there would be %d known hosts; at most %d are allowed", n, maxKnownHosts)
		return p.err(notAdded)
	}
	var taken []api.Validation
	for _, l := range lines {
		i := slices.IndexFunc(list, func(h api.KnownHost) bool {
			return h.Marker == l.Marker && h.Hosts == l.Hosts && bytes.Equal(h.Key, l.Key)
		})
		if i >= 0 {
			taken = append(taken, api.Validation{Field: "content", Detail: fmt.Sprintf("line %d: is there already, as %s", l.Number, list[i].ID)})
		}
	}
	if len(taken) > 0 {
		return &api.Error{Kind: api.ErrConflict, Message: notAdded, Detail: "nothing was added: take out the lines that are there", Validations: taken}
	}
	return nil
}

func (s *Server) deleteKnownHost(ctx context.Context, c *call, _ none) (none, error) {
	noHost := refusal(api.ErrNotFound, "", "there is no known host %s", shown(c.path("host")))
	if !isUUID(c.path("host")) {
		return none{}, noHost
	}
	id := KnownHostID(strings.ToLower(c.path("host")))
	stored, _, err := s.store.KnownHosts(ctx)
	if err != nil {
		return none{}, fmt.Errorf("looking for a known host: %w", err)
	}
	i := slices.IndexFunc(stored, func(h KnownHost) bool { return h.ID == id })
	if i < 0 {
		return none{}, noHost
	}
	e := c.event(string(id))
	e.TargetID, e.Detail = "", knownHostName(stored[i])
	err = s.store.DeleteKnownHost(ctx, id, e)
	if errors.Is(err, api.ErrNotFound) {
		return none{}, noHost
	}
	if err != nil {
		return none{}, fmt.Errorf("deleting known host %s: %w", id, err)
	}
	return none{}, nil
}

// knownHostName is a line in the audit log: whose key, and which.
func knownHostName(h KnownHost) string {
	name := shown(h.Hosts) + " " + wireKnownHost(h).Fingerprint
	if h.Marker != "" {
		name = h.Marker + " " + name
	}
	return name
}
