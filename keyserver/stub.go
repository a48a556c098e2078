package keyserver

import (
	"context"
	"net/http"

	"github.com/latchkey/latchkey/keyserver/api"
)

const heavyAtOnce = 2

type failures struct{}

func newFailures() *failures { return &failures{} }

func knownAlgorithm(a api.Algorithm) bool { return true }

func (s *Server) newHandler() http.Handler { return http.NotFoundHandler() }

// FirstAdmin makes the user "admin", with a key and a session token that is
// valid for a day, in a store that has no users. In any other it does nothing:
// made is false.
func (s *Server) FirstAdmin(ctx context.Context) (token string, made bool, err error) {
	panic("not written")
}

// IssueToken issues a session token, valid for a day, for the named user: the
// operator's way in when all others are lost.
func (s *Server) IssueToken(ctx context.Context, userName string) (token string, err error) {
	panic("not written")
}

// Close records what of refused logins was counted but not recorded yet. The
// handler must have ended.
func (s *Server) Close(ctx context.Context) error { panic("not written") }

// VerifyAudit walks the audit log from its first event and checks the chain.
// It returns how many events it checked.
func VerifyAudit(ctx context.Context, audit AuditStore) (events int64, err error) {
	panic("not written")
}

// Access says who may use a route.
type Access struct {
	Self      bool       // the user whom {user} names
	Roles     []api.Role // users with one of these roles, whomever {user} names
	Workspace bool       // a workspace, for itself
}

// A Route is one line of the HTTP surface.
type Route struct {
	Method   string
	Pattern  string // as http.ServeMux has it
	Access   Access // zero: everyone, without a token
	Action   string // in the audit log
	Does     string // for docs/api.md
	Request  any    // zero value of what the body holds; nil: no body
	Response any    // zero value of what the answer holds; nil: no body; []byte: not JSON
	Status   int    // of success
}

// Routes lists the whole HTTP surface.
func Routes() []Route { panic("not written") }
