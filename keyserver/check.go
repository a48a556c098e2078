package keyserver

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	maxName        = 255 // bytes
	maxDescription = 255 // bytes
	maxKeepOld     = 30 * 24 * 60 * 60
	maxExpiry      = 10 * 365 * 24 * 60 * 60
)

// problems collects what is wrong with a request, so that one answer tells all.
type problems struct {
	list []api.Validation
	todo string // what can be done about it
}

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, api.Validation{Field: field, Detail: fmt.Sprintf(format, args...)})
}

// err is nil if nothing was added.
func (p *problems) err(message string) error {
	if len(p.list) == 0 {
		return nil
	}
	return &api.Error{Kind: api.ErrInvalid, Message: message, Detail: p.todo, Validations: p.list}
}

// name checks the name of a user, a key or a workspace.
func (p *problems) name(field, name string) {
	switch {
	case name == "":
		p.add(field, "is missing")
	case len(name) > maxName:
		p.add(field, "has %d bytes; at most %d are allowed", len(name), maxName)
	case name == api.Me || name == "current" || isUUID(name):
		p.add(field, "%q has a meaning of its own in addresses and can't be a name", name)
	case !validName(name):
		p.add(field, "must be letters, digits and . _ @ + -, and begin with a letter or a digit")
	}
}

func (p *problems) role(field string, r api.Role) {
	switch r {
	case api.RoleUser, api.RoleAdmin, api.RoleProvisioner, api.RoleAuditor:
	default:
		p.add(field, "must be %s, %s, %s or %s", api.RoleUser, api.RoleAdmin, api.RoleProvisioner, api.RoleAuditor)
	}
}

func (p *problems) algorithm(field string, a api.Algorithm) {
	if !knownAlgorithm(a) {
		p.add(field, "must be %s, %s or %s", api.Ed25519, api.ECDSA, api.RSA)
	}
}

func (p *problems) seconds(field string, n, limit int64) {
	if n < 0 || n > limit {
		p.add(field, "must be 0 to %d", limit)
	}
}

func (p *problems) description(field, text string) {
	switch {
	case len(text) > maxDescription:
		p.add(field, "has %d bytes; at most %d are allowed", len(text), maxDescription)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		p.add(field, "holds a control character")
	}
}

// validName reports whether s could be the name of a record: what is not need
// not be looked up.
func validName(s string) bool {
	if s == "" || len(s) > maxName || s == api.Me || s == "current" || isUUID(s) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && strings.IndexByte("._@+-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

func newID() string { return uuid.NewString() }

func knownAlgorithm(a api.Algorithm) bool {
	return a == api.Ed25519 || a == api.ECDSA || a == api.RSA
}

// shown is s as an answer, a log or the audit log may show what a caller sent:
// short, in valid UTF-8, and without a token that was put in the wrong place.
func shown(s string) string {
	if strings.Contains(s, "lk_s_") || strings.Contains(s, "lk_w_") {
		return "[a token]"
	}
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	return s
}

// refusal makes an error that says what was wrong and what can be done.
func refusal(kind error, todo, format string, args ...any) *api.Error {
	return &api.Error{Kind: kind, Message: fmt.Sprintf(format, args...), Detail: todo}
}
