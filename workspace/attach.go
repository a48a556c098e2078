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

// An attachedAgent is the body of POST /agents, and the answer to DELETE /agents.
type attachedAgent struct {
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
	body, err := json.Marshal(attachedAgent{socket})
	if err != nil {
		return fmt.Errorf(askingDaemon, err)
	}
	return askAgents(ctx, dir, "POST", "/agents", body, new(struct{}))
}

// DetachAgent takes back what AttachAgent has done, and returns the socket of the agent.
// That is the only one that was attached if socket is the daemon's own. The error is a
// [Problem] if there is nothing to take back, or no telling which.
func DetachAgent(ctx context.Context, dir, socket string) (detached string, err error) {
	var answer attachedAgent
	err = askAgents(ctx, dir, "DELETE", "/agents?"+url.Values{"socket": {socket}}.Encode(), nil, &answer)
	return answer.Socket, err
}

func askAgents(ctx context.Context, dir, method, path string, body []byte, answer any) error {
	c, err := dialControl(dir)
	if err != nil {
		return err
	}
	defer c.close()
	return c.ask(ctx, method, path, bytes.NewReader(body), maxState, answer)
}

// serveAttach answers POST /agents.
func (d *Daemon) serveAttach(w http.ResponseWriter, r *http.Request) {
	var request attachedAgent
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAttachRequest)).Decode(&request); err != nil {
		http.Error(w, "this is no request to attach an agent", http.StatusBadRequest)
		return
	}
	d.tellDone(w, struct{}{}, d.upstreams.attach(r.Context(), request.Socket))
}

// serveDetach answers DELETE /agents.
func (d *Daemon) serveDetach(w http.ResponseWriter, r *http.Request) {
	detached, err := d.upstreams.detach(r.URL.Query().Get("socket"))
	d.tellDone(w, attachedAgent{detached}, err)
}

// tellDone answers that something was done, or why it was not.
func (d *Daemon) tellDone(w http.ResponseWriter, done any, err error) {
	if err == nil {
		d.tell(w, done)
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
