package keyserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
)

// firstAdmin is the name of the user with whom a new store begins.
const firstAdmin = "admin"

// FirstAdmin makes the user "admin", with a key and a session token that is
// valid for a day, in a store that has no users. In any other it does nothing:
// made is false.
func (s *Server) FirstAdmin(ctx context.Context) (token string, made bool, err error) {
	users, err := s.store.Users(ctx, "", 1)
	if err != nil {
		return "", false, fmt.Errorf("looking for users: %w", err)
	}
	if len(users) > 0 {
		return "", false, nil
	}
	in := api.CreateUserRequest{Name: firstAdmin, Role: api.RoleAdmin, KeyAlgorithm: s.algorithm}
	_, token, _, err = s.makeUser(ctx, in, s.now(), func(u User) Event {
		e := s.ownEvent("user.create", u.Name)
		e.TargetID = u.ID
		e.Detail = "role " + string(u.Role) + ", the first"
		return e
	})
	if errors.Is(err, api.ErrConflict) { // another server was first
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("making the first admin: %w", err)
	}
	return token, true, nil
}

// IssueToken issues a session token, valid for a day, for the named user: the
// operator's way in when all others are lost. ErrNotFound if there is no such
// user, ErrConflict if they are disabled.
func (s *Server) IssueToken(ctx context.Context, userName string) (token string, err error) {
	u, err := s.userNamed(ctx, userName)
	if err != nil {
		return "", err
	}
	if u.Disabled {
		return "", disabled(u)
	}
	token, t := newToken(api.SessionToken, u.ID, "", "issued by the operator", s.now(), firstTokenTime)
	e := s.ownEvent("token.create", u.Name+"/"+string(t.ID))
	e.TargetID = u.ID
	if err := s.store.CreateToken(ctx, t, e); err != nil {
		return "", fmt.Errorf("storing a token for %s: %w", u.Name, err)
	}
	return token, nil
}

func disabled(u User) error {
	return refusal(api.ErrConflict, "enable the user first", "user %s is disabled: a token would be refused", u.Name)
}
