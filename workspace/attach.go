package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// An attachRequest is the body of POST /agents.
type attachRequest struct {
	Socket string `json:"socket"` // an absolute path
}

// A refusal is why the daemon has not done what was asked of it, on its control socket.
type refusal struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

const maxAttachRequest = 64 << 10 // bytes

// AttachAgent has the daemon of a runtime directory offer the keys of another
// ssh-agent too, the one at a socket (an absolute path), until the session ends that
// it belongs to. It does nothing if the daemon offers them already, or is that agent
// itself. What can be done about an error a [Problem] says; it is one of
// [NotRunning] if no daemon runs there.
func AttachAgent(ctx context.Context, dir, socket string) error {
	body, err := json.Marshal(attachRequest{socket})
	if err != nil {
		return fmt.Errorf(askingDaemon, err)
	}
	return askAgents(ctx, dir, "POST", "/agents", body)
}

// DetachAgent takes back what AttachAgent has done. The error is a [Problem] if there
// is nothing to take back.
func DetachAgent(ctx context.Context, dir, socket string) error {
	return askAgents(ctx, dir, "DELETE", "/agents?"+url.Values{"socket": {socket}}.Encode(), nil)
}

func askAgents(ctx context.Context, dir, method, path string, body []byte) error {
	c, err := dialControl(dir)
	if err != nil {
		return err
	}
	defer c.close()
	return c.ask(ctx, method, path, bytes.NewReader(body), maxState, new(struct{}))
}

// serveAttach answers POST /agents.
func (d *Daemon) serveAttach(w http.ResponseWriter, r *http.Request) {
	var request attachRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAttachRequest)).Decode(&request); err != nil {
		http.Error(w, "this is no request to attach an agent", http.StatusBadRequest)
		return
	}
	d.tellDone(w, d.upstreams.attach(r.Context(), request.Socket))
}

// serveDetach answers DELETE /agents.
func (d *Daemon) serveDetach(w http.ResponseWriter, r *http.Request) {
	socket := r.URL.Query().Get("socket")
	var err error
	if !d.upstreams.detach(socket) {
		err = &Problem{fmt.Errorf("no ssh-agent is attached by the socket %s", socket), `"latchkey status" lists those that are`}
	}
	d.tellDone(w, err)
}

// tellDone answers that something was done, or why it was not.
func (d *Daemon) tellDone(w http.ResponseWriter, err error) {
	if err == nil {
		d.tell(w, struct{}{})
		return
	}
	answer := refusal{Error: err.Error()}
	var problem *Problem
	if errors.As(err, &problem) {
		answer.Hint = problem.Hint
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	d.tell(w, answer)
}

// refused is the error of an answer of tellDone.
func refused(text []byte) error {
	var answer refusal
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error == "" {
		return fmt.Errorf(askingDaemon, errors.New("it refuses, and does not say why"))
	}
	return &Problem{errors.New(answer.Error), answer.Hint}
}
