package api

import (
	"errors"
	"net/http"
	"strings"
)

// The kinds of error. On both sides of the wire, errors.Is tells them apart.
var (
	ErrInvalid         = errors.New("invalid request")   // 400
	ErrUnauthenticated = errors.New("not authenticated") // 401
	ErrForbidden       = errors.New("not allowed")       // 403
	ErrNotFound        = errors.New("not found")         // 404
	ErrConflict        = errors.New("conflict")          // 409
	ErrTooLarge        = errors.New("too large")         // 413
	ErrTooMany         = errors.New("too many requests") // 429
	ErrInternal        = errors.New("internal error")    // 500
	ErrUnavailable     = errors.New("unavailable")       // 503
)

var statuses = []struct {
	kind   error
	status int
}{
	{ErrInvalid, http.StatusBadRequest},
	{ErrUnauthenticated, http.StatusUnauthorized},
	{ErrForbidden, http.StatusForbidden},
	{ErrNotFound, http.StatusNotFound},
	{ErrConflict, http.StatusConflict},
	{ErrTooLarge, http.StatusRequestEntityTooLarge},
	{ErrTooMany, http.StatusTooManyRequests},
	{ErrInternal, http.StatusInternalServerError},
	{ErrUnavailable, http.StatusServiceUnavailable},
}

// An Error is a refusal, in the form in which it travels.
type Error struct {
	Kind error `json:"-"` // one of the Err values above; the HTTP status carries it

	Message     string       `json:"message"`               // what was wrong
	Detail      string       `json:"detail,omitempty"`      // what can be done about it
	Validations []Validation `json:"validations,omitempty"` // every field that is wrong
}

// A Validation is one field that is wrong.
type Validation struct {
	Field  string `json:"field"` // its JSON name
	Detail string `json:"detail"`
}

// Error gives the message and what is wrong with each field, but not the
// detail, which is the hint that belongs behind it.
func (e *Error) Error() string {
	if len(e.Validations) == 0 {
		return e.Message
	}
	parts := make([]string, len(e.Validations))
	for i, v := range e.Validations {
		parts[i] = v.Field + ": " + v.Detail
	}
	return strings.TrimSuffix(e.Message, ".") + ": " + strings.Join(parts, "; ")
}

func (e *Error) Unwrap() error { return e.Kind }

// Status is the HTTP status for err: 500 for what is not of a known kind.
func Status(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.kind) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// kindOf is the error kind that an HTTP status stands for.
func kindOf(status int) error {
	for _, s := range statuses {
		if s.status == status {
			return s.kind
		}
	}
	if status >= 500 {
		return ErrUnavailable
	}
	return ErrInvalid
}
