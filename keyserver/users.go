package keyserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	// firstTokenTime is how long the token that comes with a new user is valid.
	firstTokenTime = 24 * time.Hour

	// maxUsersListed bounds the list of users that is asked for without a limit.
	maxUsersListed = 10_000
)

func (s *Server) createUser(ctx context.Context, c *call, in api.CreateUserRequest) (api.CreatedUser, error) {
	if in.Role == "" {
		in.Role = api.RoleUser
	}
	if in.KeyAlgorithm == "" {
		in.KeyAlgorithm = s.algorithm
	}
	var p problems
	p.name("name", in.Name)
	p.role("role", in.Role)
	p.algorithm("key_algorithm", in.KeyAlgorithm)
	if err := p.err("the user can't be made"); err != nil {
		return api.CreatedUser{}, err
	}
	u, text, t, err := s.makeUser(ctx, in, c.at, func(u User) Event {
		e := c.event(u.Name)
		e.TargetID = u.ID
		e.Detail = "role " + string(u.Role)
		return e
	})
	if errors.Is(err, api.ErrConflict) {
		return api.CreatedUser{}, taken("name", "there is a user %s already", in.Name)
	}
	if err != nil {
		return api.CreatedUser{}, err
	}
	return api.CreatedUser{User: wireUser(u), Token: api.CreatedToken{TokenInfo: wireToken(t), Token: text}}, nil
}

// makeUser stores a user with their default key and a first session token.
func (s *Server) makeUser(ctx context.Context, in api.CreateUserRequest, at time.Time, event func(User) Event) (u User, text string, t Token, err error) {
	u = User{ID: UserID(newID()), Name: in.Name, Role: in.Role, Version: 1, CreatedAt: at, UpdatedAt: at}
	pair, err := s.newKeyPair(ctx, in.KeyAlgorithm)
	if err != nil {
		return u, "", t, err
	}
	defer pair.private.wipe()
	data, sealed, err := s.sealer.newDataKey(u.ID)
	if err != nil {
		return u, "", t, err
	}
	u.DataKey = sealed
	k, err := pair.stored(data, api.DefaultKey, 1, at, at)
	if err != nil {
		return u, "", t, err
	}
	text, t = newToken(api.SessionToken, u.ID, "", "first login", at, firstTokenTime)
	if err := s.store.CreateUser(ctx, u, k, t, event(u)); err != nil {
		return u, "", t, fmt.Errorf("storing user %s: %w", u.Name, err)
	}
	return u, text, t, nil
}

func (s *Server) listUsers(ctx context.Context, c *call, _ none) ([]api.User, error) {
	var p problems
	q := c.http.URL.Query()
	after := q.Get("after")
	limit := queryNumber(&p, q, "limit", 0, 1, maxUsersListed)
	if err := p.err("the users can't be listed"); err != nil {
		return nil, err
	}
	ask := int(limit)
	if ask == 0 {
		ask = maxUsersListed + 1
	}
	users, err := s.store.Users(ctx, after, ask)
	if err != nil {
		return nil, fmt.Errorf("listing the users: %w", err)
	}
	if len(users) > maxUsersListed {
		return nil, refusal(api.ErrTooLarge, "ask for pages: ?limit=1000, then ?limit=1000&after=NAME with the last name of each page",
			"there are more than %d users", maxUsersListed)
	}
	return wireAll(users, wireUser), nil
}

func (s *Server) showUser(_ context.Context, c *call, _ none) (api.User, error) {
	return wireUser(c.owner), nil
}

func (s *Server) updateUser(ctx context.Context, c *call, in api.UpdateUserRequest) (api.User, error) {
	u := c.owner
	var p problems
	if in.Role == nil && in.Disabled == nil {
		p.add("role", "is missing, and so is disabled: there is nothing to change")
	}
	if in.Role != nil {
		p.role("role", *in.Role)
		u.Role = *in.Role
	}
	if in.Disabled != nil {
		u.Disabled = *in.Disabled
	}
	if err := p.err("the user can't be changed"); err != nil {
		return api.User{}, err
	}
	if u.ID == c.user.ID && (u.Disabled || u.Role != c.user.Role) {
		return api.User{}, refusal(api.ErrForbidden, "another admin may", "an admin may not disable or demote themselves")
	}
	u.UpdatedAt = c.at
	e := c.event(u.Name)
	e.Detail = fmt.Sprintf("role %s, disabled %t", u.Role, u.Disabled)
	switch err := s.store.UpdateUser(ctx, u, e); {
	case errors.Is(err, api.ErrConflict):
		return api.User{}, refusal(api.ErrConflict, "look at the user and try again", "user %s was changed at the same time", u.Name)
	case errors.Is(err, api.ErrNotFound):
		return api.User{}, refusal(api.ErrNotFound, "", "there is no user %s", u.Name)
	case err != nil:
		return api.User{}, fmt.Errorf("storing user %s: %w", u.Name, err)
	}
	return wireUser(u), nil
}

// deleteUser destroys the user's data key with their record, so what was sealed
// for them does not open again, from no backup of the sealed values alone.
func (s *Server) deleteUser(ctx context.Context, c *call, _ none) (none, error) {
	if c.owner.ID == c.user.ID {
		return none{}, refusal(api.ErrForbidden, "another admin may", "an admin may not delete themselves")
	}
	err := s.store.DeleteUser(ctx, c.owner.ID, c.event(c.owner.Name))
	if errors.Is(err, api.ErrNotFound) {
		return none{}, refusal(api.ErrNotFound, "", "there is no user %s", c.owner.Name)
	}
	if err != nil {
		return none{}, fmt.Errorf("deleting user %s: %w", c.owner.Name, err)
	}
	return none{}, nil
}

// taken is a conflict about one field.
func taken(field, format string, args ...any) error {
	e := refusal(api.ErrConflict, "", format, args...)
	e.Validations = []api.Validation{{Field: field, Detail: "is taken"}}
	return e
}
