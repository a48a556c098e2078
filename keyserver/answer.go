package keyserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	maxBody      = 1 << 20 // of a request, unless its route says otherwise
	maxValueBody = 8 << 20 // of one with values of secrets, in base64 or with escapes
)

// errAudit is in the errors of an event that could not be stored.
var errAudit = errors.New("the audit log can't be written")

// An answer is what is sent for one request, and what is known of it.
type answer struct {
	http.ResponseWriter
	id     string
	remote string
	route  *Route // nil until one was found
	caller caller
	err    error // why it was refused
	status int   // 0 until the answer has begun
	missed int   // the status with which the mux has refused
}

func newAnswer(w http.ResponseWriter) *answer {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return &answer{ResponseWriter: w, id: newRequestID()}
}

// WriteHeader keeps back what the mux writes of its own accord, for finish.
func (a *answer) WriteHeader(status int) {
	if a.route == nil && a.err == nil {
		a.missed = status
		return
	}
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.route == nil && a.err == nil {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// finish answers a request for which there is no route.
func (a *answer) finish(r *http.Request) {
	if a.missed == 0 {
		return
	}
	a.Header().Del("Location") // the mux would redirect to a cleaner path
	if a.missed == http.StatusMethodNotAllowed {
		a.err = api.ErrInvalid
		a.sendError(a.missed, refusal(api.ErrInvalid, "allowed are "+a.Header().Get("Allow"), "this address does not take %s", shown(r.Method)))
		return
	}
	a.refuse(refusal(api.ErrNotFound, "docs/api.md lists the addresses", "there is nothing at this address"))
}

// send answers with out, as JSON unless it is a []byte.
func (a *answer) send(status int, out any) error {
	contentType := "application/octet-stream"
	body, raw := out.([]byte)
	if !raw {
		contentType = "application/json"
		var err error
		if body, err = json.Marshal(out); err != nil {
			return fmt.Errorf("encoding an answer: %w", err)
		}
		body = append(body, '\n')
	}
	defer clear(body) // some answers hold a token or a key
	a.Header().Set("Content-Type", contentType)
	a.Header().Set("Content-Length", strconv.Itoa(len(body)))
	a.WriteHeader(status)
	// An error is the caller's connection, to which nothing more can be said.
	a.Write(body)
	return nil
}

// refuse answers with an error.
func (a *answer) refuse(err error) {
	a.err = err
	e := wireError(err, a.id)
	switch {
	case errors.Is(e, api.ErrUnauthenticated):
		a.Header().Set("WWW-Authenticate", "Bearer")
	case errors.Is(e, api.ErrTooMany):
		a.Header().Set("Retry-After", strconv.Itoa(int(failureWindow.Seconds())))
	}
	a.sendError(api.Status(e), e)
}

func (a *answer) sendError(status int, e *api.Error) {
	if a.send(status, e) != nil {
		a.WriteHeader(http.StatusInternalServerError)
	}
}

// wireError is err as the caller is told. What is not meant for them is in the
// log, under the request's id.
func wireError(err error, id string) *api.Error {
	see := "the server's log says why, under request " + id
	var known *api.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLarge):
		return refusal(api.ErrTooLarge, "", "the body is over %d KiB", tooLarge.Limit>>10)
	case errors.Is(err, errAudit):
		return refusal(api.ErrUnavailable, see, "the audit log can't be written, so the request is refused")
	case errors.Is(err, errSeal):
		return refusal(api.ErrInternal, see, "a stored value does not open")
	case errors.Is(err, api.ErrUnavailable):
		return refusal(api.ErrUnavailable, see, "the server can't use its store now, so the request is refused")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refusal(api.ErrUnavailable, "try again", "the request took too long")
	}
	return refusal(api.ErrInternal, see, "internal error")
}

// readBody reads the body of a request. What it returns may hold a private key,
// or the value of a secret.
func readBody(a *answer, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(a.ResponseWriter, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		err = refusal(api.ErrInvalid, "", "the body did not arrive whole")
	}
	return body, err
}

// decode reads the body of a call into a value, nil if there must be none. It
// refuses what it does not know, rather than to ignore it.
func (c *call) decode(into any) error {
	switch {
	case c.bodyErr != nil:
		return c.bodyErr
	case len(c.body) == 0:
		return nil
	case into == nil:
		return refusal(api.ErrInvalid, "leave the body out", "this request takes no body")
	}
	if t, _, err := mime.ParseMediaType(c.http.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refusal(api.ErrInvalid, "send it with: Content-Type: application/json", "the body is not marked as JSON")
	}
	if err := verbatim(c.body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badJSON(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refusal(api.ErrInvalid, "", "the body holds more than one JSON value")
	}
	return nil
}

// badJSON says what is wrong without quoting values.
func badJSON(err error) error {
	var p problems
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var notBase64 base64.CorruptInputError
	const unknown = "json: unknown field "
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		p.add(wrongType.Field, "must be a %s", jsonType(wrongType.Type.String()))
		return p.err("the body can't be read")
	case strings.HasPrefix(err.Error(), unknown):
		p.add(shown(strings.Trim(strings.TrimPrefix(err.Error(), unknown), `"`)), "is not a field of this request")
		return p.err("the body can't be read")
	case errors.As(err, &notBase64):
		return refusal(api.ErrInvalid, "", "the body holds a string that is not base64 where one must be")
	case errors.As(err, &syntax):
		return refusal(api.ErrInvalid, "", "the body is not valid JSON, at byte %d", syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refusal(api.ErrInvalid, "", "the body is not valid JSON: it ends too early")
	}
	return refusal(api.ErrInvalid, "", "the body is not a JSON object of this request's fields")
}

// jsonType is a Go type in JSON's words.
func jsonType(t string) string {
	switch t = strings.TrimPrefix(t, "*"); {
	case t == "bool":
		return "boolean"
	case t == "int64":
		return "whole number"
	case t == "[]uint8":
		return "string in base64"
	case t == "[]string":
		return "list of strings"
	case strings.HasPrefix(t, "[]"):
		return "list of objects"
	case t == "api.Requirement", t == "api.NamedUpdate", t == "api.DeliveryItem", t == "api.KeyHost", t == "api.HostProof":
		return "JSON object"
	}
	return "string"
}
