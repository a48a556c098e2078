package keyserver

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A Route is one line of the HTTP surface.
type Route struct {
	Method   string
	Pattern  string // as http.ServeMux has it
	Access   Access // zero: everyone, without a token
	Action   string // in the audit log
	Does     string // in words that go on from "may"
	Request  any    // zero value of what the body holds; nil: no body
	Response any    // zero value of what the answer holds; nil: no body; []byte: not JSON
	Status   int    // of success
	MaxBody  int64  // in bytes; 0: maxBody

	all   bool // it changes what every user's workspaces are given
	serve func(*Server, context.Context, *answer, *call) error
}

// Routes lists the whole HTTP surface. Requests without a body hold none;
// fields of a body, and the body where all its fields are optional, may be left
// out. Every refusal is an [api.Error].
func Routes() []Route {
	var (
		everyone    = Access{}
		self        = Access{Self: true}
		selfOrAdmin = Access{Self: true, Roles: []api.Role{api.RoleAdmin}}
		provision   = Access{Self: true, Roles: []api.Role{api.RoleProvisioner}}
		admin       = Access{Roles: []api.Role{api.RoleAdmin}}
		audit       = Access{Roles: []api.Role{api.RoleAdmin, api.RoleAuditor}}
		anyUser     = Access{User: true}
		workspace   = Access{Workspace: true}
	)
	const v2 = "/api/v2"
	const user, work, secrets = v2 + "/users/{user}", v2 + "/users/{user}/workspaces", v2 + "/users/{user}/secrets"
	return []Route{
		route("GET", "/healthz", everyone, 200, "health", "ask whether the server works", (*Server).health),

		route("GET", v2+"/users", admin, 200, "user.list", "list all users", (*Server).listUsers),
		route("POST", v2+"/users", admin, 201, "user.create", "make a user", (*Server).createUser),
		route("GET", user, selfOrAdmin, 200, "user.show", "see a user", (*Server).showUser),
		route("PATCH", user, admin, 200, "user.update", "change a user", (*Server).updateUser),
		route("DELETE", user, admin, 204, "user.delete", "delete a user", (*Server).deleteUser),

		route("GET", user+"/keys", selfOrAdmin, 200, "key.list", "list a user's public keys", (*Server).listKeys),
		route("POST", user+"/keys", self, 201, "key.create", "make or import a key for a user", (*Server).createKey),
		route("GET", user+"/keys/{key}", selfOrAdmin, 200, "key.show", "see a user's public key", (*Server).showKey),
		route("PUT", user+"/keys/{key}", self, 200, "key.rotate", "rotate a user's key", (*Server).rotateKey),
		route("PATCH", user+"/keys/{key}", self, 200, "key.update", "change how a user's key serves", (*Server).updateKey),
		route("DELETE", user+"/keys/{key}", self, 204, "key.delete", "delete a user's key", (*Server).deleteKey),
		route("GET", user+"/gitsshkey", selfOrAdmin, 200, "key.show", "see a user's public key", (*Server).showKey),
		route("PUT", user+"/gitsshkey", self, 200, "key.rotate", "rotate a user's key", (*Server).rotateKey),

		route("GET", user+"/tokens", selfOrAdmin, 200, "token.list", "list a user's session tokens", (*Server).listTokens),
		route("POST", user+"/tokens", self, 201, "token.create", "make a session token for a user", (*Server).createToken),
		route("DELETE", user+"/tokens/{token}", selfOrAdmin, 204, "token.revoke", "revoke a user's session token", (*Server).revokeToken),

		route("GET", work, provision, 200, "workspace.list", "list a user's workspaces", (*Server).listWorkspaces),
		route("POST", work, provision, 201, "workspace.create", "make a workspace for a user", (*Server).createWorkspace),
		route("DELETE", work+"/{workspace}", provision, 204, "workspace.delete", "delete a user's workspace", (*Server).deleteWorkspace),
		route("GET", work+"/{workspace}/tokens", provision, 200, "token.list", "list the tokens of a user's workspace", (*Server).listWorkspaceTokens),
		route("POST", work+"/{workspace}/tokens", provision, 201, "token.create", "make a token for a user's workspace", (*Server).createWorkspaceToken),
		route("DELETE", work+"/{workspace}/tokens/{token}", provision, 204, "token.revoke", "revoke a token of a user's workspace", (*Server).revokeWorkspaceToken),

		route("GET", work+"/{workspace}", provision, 200, "workspace.show", "see a user's workspace", (*Server).showWorkspace),
		route("PATCH", work+"/{workspace}", provision, 200, "workspace.update", "change a user's workspace", (*Server).updateWorkspace),
		route("GET", work+"/{workspace}/check", provision, 200, "workspace.check", "check what a user's workspace needs", (*Server).checkWorkspace),

		route("PUT", work+"/{workspace}/hostkey", provision, 200, "hostkey.create", "see, or first make, the host key of a user's workspace", (*Server).workspaceHostKey),

		route("GET", user+"/loginkeys", self, 200, "loginkey.list", "list a user's login keys", (*Server).listLoginKeys),
		route("POST", user+"/loginkeys", self, 201, "loginkey.create", "add a login key for a user", (*Server).createLoginKey),
		route("DELETE", user+"/loginkeys/{loginkey}", self, 204, "loginkey.delete", "delete a user's login key", (*Server).deleteLoginKey),

		route("GET", secrets, self, 200, "secret.list", "list a user's secrets", (*Server).listSecrets),
		route("POST", secrets, self, 201, "secret.create", "store a secret for a user", (*Server).createSecret).large(),
		route("PATCH", secrets, self, 200, "secret.update", "change several secrets of a user", (*Server).updateSecrets).large(),
		route("POST", secrets+"/batch", self, 201, "secret.import", "import secrets for a user", (*Server).importSecrets).large(),
		route("POST", secrets+"/scan", self, 200, "secret.scan", "look for a user's secrets by hash", (*Server).scanSecrets).large(),
		route("GET", secrets+"/{secret}", self, 200, "secret.show", "see a user's secret, but not its value", (*Server).showSecret),
		route("PATCH", secrets+"/{secret}", self, 200, "secret.update", "change a user's secret", (*Server).updateSecret).large(),
		route("DELETE", secrets+"/{secret}", self, 204, "secret.delete", "delete a user's secret", (*Server).deleteSecret),
		route("GET", secrets+"/{secret}/versions", self, 200, "secret.versions", "list the versions of a user's secret", (*Server).listSecretVersions),
		route("POST", secrets+"/{secret}/rollback", self, 200, "secret.rollback", "roll a user's secret back", (*Server).rollbackSecret),
		route("GET", user+"/deliveries", self, 200, "secret.deliveries", "see what became of a user's secrets", (*Server).listDeliveries),
		route("GET", v2+"/limits", everyone, 200, "limits", "see the limits of secrets", (*Server).showLimits),

		knownHostsRoute(v2+"/known-hosts", anyUser),
		route("POST", v2+"/known-hosts", admin, 201, "knownhost.add", "add known hosts", (*Server).addKnownHosts).toAll(),
		route("DELETE", v2+"/known-hosts/{host}", admin, 204, "knownhost.delete", "delete a known host", (*Server).deleteKnownHost).toAll(),

		route("GET", v2+"/workspaceagents/me", workspace, 200, "workspace.show", "see its own workspace", (*Server).showSelf),
		route("GET", v2+"/workspaceagents/me/keys", workspace, 200, "key.list", "list the public keys to offer", (*Server).listKeys),
		route("POST", v2+"/workspaceagents/me/keys/fetch", workspace, 200, "key.fetch", "fetch a private key", (*Server).fetchKey),
		route("GET", v2+"/workspaceagents/me/gitsshkey", workspace, 200, "key.fetch", "fetch a private key", (*Server).fetchPrivateKey),
		route("POST", v2+"/workspaceagents/me/sign", workspace, 200, "key.sign", "have the server sign", (*Server).sign),
		route("POST", v2+"/workspaceagents/me/secrets/fetch", workspace, 200, "secret.fetch", "fetch its secrets", (*Server).fetchSecrets),
		route("GET", v2+"/workspaceagents/me/secrets", workspace, 200, "secret.fetch", "fetch its secrets", (*Server).showSecrets),
		route("PUT", v2+"/workspaceagents/me/secrets/status", workspace, 204, "secret.report", "report what became of its secrets", (*Server).reportDelivery).large(),
		route("POST", v2+"/workspaceagents/me/secrets/scan", workspace, 200, "secret.scan", "look for its secrets by hash", (*Server).scanSecrets).large(),
		knownHostsRoute(v2+"/workspaceagents/me/known-hosts", workspace),
		route("GET", v2+"/workspaceagents/me/ssh", workspace, 200, "ssh.show", "see who may log in to it", (*Server).showSSH),
		route("PUT", v2+"/workspaceagents/me/hostkey", workspace, 200, "hostkey.create", "see, or first make, its host key", (*Server).ownHostKey),
		route("POST", v2+"/workspaceagents/me/hostkey/fetch", workspace, 200, "hostkey.fetch", "fetch its private host key", (*Server).fetchHostKey),
		watchRoute(v2+"/workspaceagents/me/watch", workspace, "workspace.watch", "be told of changes"),

		route("GET", v2+"/audit", audit, 200, "audit.list", "read the audit log", (*Server).listAudit),
	}
}

// large is a route whose body holds values, or says something of all secrets.
func (r Route) large() Route {
	r.MaxBody = maxValueBody
	return r
}

// toAll is a route that changes what every user's workspaces are given.
func (r Route) toAll() Route {
	r.all = true
	return r
}

// none is the request or the response of a route that has no such body.
type none struct{}

func route[In, Out any](method, pattern string, who Access, status int, action, does string, do func(*Server, context.Context, *call, In) (Out, error)) Route {
	r := Route{Method: method, Pattern: pattern, Access: who, Action: action, Does: does, Status: status}
	var in In
	var out Out
	_, noRequest := any(in).(none)
	_, noResponse := any(out).(none)
	if !noRequest {
		r.Request = in
	}
	if !noResponse {
		r.Response = out
	}
	r.serve = func(s *Server, ctx context.Context, w *answer, c *call) error {
		var in In
		var into any = &in
		if noRequest {
			into = nil
		}
		if err := c.decode(into); err != nil {
			return err
		}
		out, err := do(s, ctx, c, in)
		if err != nil {
			return err
		}
		if noResponse {
			w.WriteHeader(status)
			return nil
		}
		return w.send(status, out)
	}
	return r
}

// A Health is the answer of /healthz.
type Health struct {
	Status string `json:"status"` // "ok"
}

// health reads from the store, so that a server without one is not sent requests.
func (s *Server) health(ctx context.Context, _ *call, _ none) (Health, error) {
	if _, err := s.store.MasterKeyCheck(ctx); err != nil {
		return Health{}, fmt.Errorf("reading the store: %w: %w", err, api.ErrUnavailable)
	}
	return Health{"ok"}, nil
}
