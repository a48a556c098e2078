package api

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
)

var kinds = map[int]error{
	400: ErrInvalid,
	401: ErrUnauthenticated,
	403: ErrForbidden,
	404: ErrNotFound,
	409: ErrConflict,
	413: ErrTooLarge,
	429: ErrTooMany,
	500: ErrInternal,
	503: ErrUnavailable,
}

func TestStatus(t *testing.T) {
	for status, kind := range kinds {
		for how, err := range map[string]error{
			"itself":      kind,
			"wrapped":     fmt.Errorf("user alice: %w", kind),
			"an Error":    &Error{Kind: kind, Message: "no"},
			"Error in it": fmt.Errorf("user alice: %w", &Error{Kind: kind, Message: "no"}),
			"joined":      errors.Join(errors.New("disk full"), kind),
		} {
			if got := Status(err); got != status {
				t.Errorf("Status(%v, %s) = %d; want %d", kind, how, got, status)
			}
		}
	}
	for _, err := range []error{errors.New("of no kind"), &Error{Message: "of no kind"}} {
		if got := Status(err); got != 500 {
			t.Errorf("Status(%v) = %d; want 500", err, got)
		}
	}
}

// A status that no kind has comes from something between client and server.
func TestKindOf(t *testing.T) {
	for status, kind := range kinds {
		if got := kindOf(status); got != kind {
			t.Errorf("kindOf(%d) = %v; want %v", status, got, kind)
		}
	}
	for status := 300; status < 600; status++ {
		if kinds[status] != nil {
			continue
		}
		want := ErrInvalid
		if status >= 500 {
			want = ErrUnavailable
		}
		if got := kindOf(status); got != want {
			t.Errorf("kindOf(%d %s) = %v; want %v", status, http.StatusText(status), got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  *Error
		want string
	}{
		{&Error{Kind: ErrNotFound, Message: "user bob: not found", Detail: "a hint"}, "user bob: not found"},
		{
			&Error{Kind: ErrInvalid, Message: "invalid request.", Validations: []Validation{{"name", "is empty"}, {"role", "want user or admin"}}},
			"invalid request: name: is empty; role: want user or admin",
		},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("Error() = %q; want %q", got, tt.want)
		}
	}
}
