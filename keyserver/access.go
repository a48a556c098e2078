package keyserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Access says who may use a route. The zero Access is everyone, without a token.
type Access struct {
	Self      bool       // the user whom {user} names
	Roles     []api.Role // users with one of these roles, whomever {user} names
	User      bool       // any user, where there is no {user}
	Workspace bool       // a workspace, for itself
}

// open reports whether the route is for everyone.
func (a Access) open() bool { return !a.Self && !a.User && !a.Workspace && len(a.Roles) == 0 }

// String says it in words, such as "the user themselves or the role admin".
func (a Access) String() string {
	var who []string
	if a.Self {
		who = append(who, "the user themselves")
	}
	if a.User {
		who = append(who, "every user")
	}
	for _, r := range a.Roles {
		who = append(who, "the role "+string(r))
	}
	if a.Workspace {
		who = append(who, "a workspace")
	}
	if a.open() {
		return "everyone"
	}
	return strings.Join(who, " or ")
}

// A caller is whom the token of a request speaks for.
type caller struct {
	user      User
	workspace Workspace // zero unless the token is a workspace's
	token     Token
}

func (c caller) actor() (name, id string) {
	switch {
	case c.workspace.ID != "":
		return "workspace:" + c.workspace.Name, string(c.workspace.ID)
	case c.user.ID != "":
		return "user:" + c.user.Name, string(c.user.ID)
	}
	return "unknown", ""
}

// A call is one request behind a token.
type call struct {
	caller
	route  *Route
	owner  User // whom {user} names; the caller's user on routes without
	at     time.Time
	remote string // the client's address
	http   *http.Request

	target string // the record that it is about, once that is known
	doing  string // with it, for the audit log; "" if that says nothing more
	facts  string // of doing: see Event

	body    []byte // read before anything is looked up
	bodyErr error
}

// event is the record of this call having done what it is for.
func (c *call) event(target string) Event {
	name, id := c.actor()
	return Event{
		At: c.at, Actor: name, ActorID: id, Action: c.route.Action,
		Target: target, TargetID: c.owner.ID, Remote: c.remote, Result: OK, Facts: c.facts,
		By: Credential{c.token.ID, c.user.Version},
	}
}

// about notes which key a call is about that its path does not name.
func (c *call) about(k Key) { c.target = c.owner.Name + "/" + k.Name }

// path is a wildcard of the route's pattern.
func (c *call) path(name string) string { return c.http.PathValue(name) }

// asked is the target of a call that was refused before its record was found.
func (c *call) asked() string {
	if c.target != "" {
		return c.target
	}
	var parts []string
	for _, wildcard := range []string{"user", "key", "loginkey", "secret", "workspace", "token", "host"} {
		v := c.path(wildcard)
		if wildcard == "user" && c.names(v) {
			v = c.user.Name
		}
		if v != "" {
			parts = append(parts, shown(v))
		}
	}
	return strings.Join(parts, "/")
}

// names reports whether v, from a path, is the caller's own user.
func (c *call) names(v string) bool {
	return v == api.Me || v == c.user.Name || strings.EqualFold(v, string(c.user.ID))
}

// authorize checks that the caller may use the route, and finds the user that
// {user} names. Whoever may act on themselves only is refused before a lookup,
// so the answer does not tell whether a user exists.
func (s *Server) authorize(ctx context.Context, c *call) error {
	a := c.route.Access
	c.owner = c.user
	if a.Workspace != (c.token.Kind == api.WorkspaceToken) {
		if a.Workspace {
			return refusal(api.ErrForbidden, "use the token that was made with the workspace", "a session token can't %s: that takes a workspace token", c.route.Does)
		}
		return refusal(api.ErrForbidden, "use a session token", "a workspace token can't %s: that takes a session token", c.route.Does)
	}
	if a.Workspace || a.User {
		return nil
	}
	named := c.path("user")
	self := named != "" && c.names(named)
	if a.Self && self {
		return nil
	}
	if !slices.Contains(a.Roles, c.user.Role) {
		return refusal(api.ErrForbidden, "it is for "+a.String(), "%s may not %s", c.user.Name, c.route.Does)
	}
	if named == "" || self {
		return nil
	}
	owner, err := s.userNamed(ctx, named)
	if err != nil {
		return err
	}
	c.owner = owner
	return nil
}

// userNamed finds a user by name or ID.
func (s *Server) userNamed(ctx context.Context, named string) (u User, err error) {
	err = api.ErrNotFound
	switch {
	case isUUID(named):
		u, err = s.store.User(ctx, UserID(strings.ToLower(named)))
	case validName(named):
		u, err = s.store.UserNamed(ctx, named)
	}
	if errors.Is(err, api.ErrNotFound) {
		return User{}, refusal(api.ErrNotFound, "", "there is no user %s", shown(named))
	}
	return u, err
}
