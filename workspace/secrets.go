package workspace

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A Variable is a secret as an environment variable.
type Variable struct {
	Name   string `json:"name"`
	Value  []byte `json:"value"`  // without NUL
	Secret string `json:"secret"` // its name
}

// A SecretState is what a workspace has of its user's secrets.
type SecretState struct {
	Variables []Variable        `json:"variables"` // by the names of the secrets; each variable once
	Missing   []api.Requirement `json:"missing"`   // what the workspace needs and has not
	Files     []SecretFile      `json:"files"`     // what secrets have a file, without their values

	// Known says that the server, or the cache, has said what there is. Else
	// nothing is known, also not of what is missing: Notice says why.
	Known bool `json:"known"`

	// Generation changes with every change of what the workspace is given, and
	// with the daemon. It says nothing else.
	Generation int64 `json:"generation"`

	// Notice is what the user should know of it, such as that the server is
	// away; "" if there is nothing to say.
	Notice string `json:"notice"`

	// Refused says that the server refuses the workspace.
	Refused bool `json:"refused,omitempty"`
}

// A SecretFile is a secret with a file. Another Version is another content.
type SecretFile struct {
	Secret  string `json:"secret"` // its name
	Path    string `json:"path"`   // as the server has it
	Version int64  `json:"version"`
}

// maxSecrets bounds what is read of the daemon's answer: all variables, in
// base64, even of a server whose limits were raised.
const maxSecrets = 32 << 20

// Secrets asks the daemon of a runtime directory for the user's secrets. The
// error is one of [NotRunning] if none runs there.
func Secrets(ctx context.Context, dir string) (SecretState, error) {
	return askSecrets(ctx, dir, "/secrets")
}

// WaitSecrets is Secrets, but returns only when the generation is another than
// after. It fails when the daemon ends.
func WaitSecrets(ctx context.Context, dir string, after int64) (SecretState, error) {
	return askSecrets(ctx, dir, "/secrets/wait?after="+strconv.FormatInt(after, 10))
}

// FileValues asks the daemon of a runtime directory for the values of secrets with
// a file, for who is to hide them: variables without a name. A long value is cut.
func FileValues(ctx context.Context, dir string) ([]Variable, error) {
	s, err := askSecrets(ctx, dir, "/secrets/files")
	return s.Variables, err
}

func askSecrets(ctx context.Context, dir, path string) (s SecretState, err error) {
	c, err := dialControl(dir)
	if err != nil {
		return s, err
	}
	defer c.close()
	return s, c.ask(ctx, "GET", path, nil, maxSecrets, &s)
}

// FetchSecrets asks the server itself, where no daemon runs. Files are not
// written then, and nothing is reported.
func FetchSecrets(ctx context.Context, client *api.Client) (SecretState, error) {
	s, err := fetchSnapshot(ctx, client, nil)
	if err != nil {
		return SecretState{}, err
	}
	home, _ := os.UserHomeDir() // "" without one, which a plan can do with
	p := s.plan(home)
	state := SecretState{Variables: s.copies(p), Files: filesOf(p), Generation: s.revision, Known: true}
	items := p.items
	for _, held := range p.files {
		items = append(items, api.DeliveryItem{Target: api.FileTarget, Where: held.file, State: api.Delivered})
	}
	state.Missing = missing(s.requirements, items)
	switch {
	case s.refused:
		state.Notice = noticeRefuses
	case len(p.files) > 0:
		state.Notice = "no workspace daemon runs here, so no secret is written to its file"
	}
	err = s.close()
	harden.Collect()
	return state, err
}

// Environ is an environment with secrets in it. A secret takes the place of what
// base has under its name; those that are new come last, in their order. Of two
// entries of one name the first counts, as for getenv(3), and what hands a token
// to the daemon is left out.
func Environ(base []string, vars []Variable) []string {
	secrets := make(map[string]Variable, len(vars))
	for _, v := range vars {
		if _, twice := secrets[v.Name]; !twice {
			secrets[v.Name] = v
		}
	}
	done := map[string]bool{tokenVariable: true, tokenFDVariable: true}
	env := make([]string, 0, len(base)+len(vars))
	for _, entry := range base {
		name, _, assigned := strings.Cut(entry, "=")
		if v, ok := secrets[name]; ok && assigned {
			entry = name + "=" + string(v.Value)
		}
		if !assigned || !done[name] { // execve(2) takes what is no variable too
			env = append(env, entry)
		}
		done[name] = done[name] || assigned
	}
	for _, v := range vars {
		if !done[v.Name] {
			env = append(env, v.Name+"="+string(v.Value))
		}
		done[v.Name] = true
	}
	return env
}

// A controlClient speaks to the daemon of a runtime directory, over as few
// connections as it can.
type controlClient struct{ transport *http.Transport }

const askingDaemon = "asking the workspace daemon: %w"

func dialControl(dir string) (*controlClient, error) {
	if err := CheckRuntimeDir(dir); err != nil {
		return nil, fmt.Errorf(askingDaemon, err)
	}
	return &controlClient{&http.Transport{MaxIdleConnsPerHost: 4, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ControlSocket(dir))
	}}}, nil
}

func (c *controlClient) close() { c.transport.CloseIdleConnections() }

// ask sends one request and decodes the answer, of at most most bytes, into out.
func (c *controlClient) ask(ctx context.Context, method, path string, body io.Reader, most int64, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, body)
	if err != nil {
		return fmt.Errorf(askingDaemon, err)
	}
	answer, err := c.transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf(askingDaemon, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	switch {
	case err != nil:
		return fmt.Errorf(askingDaemon, err)
	case int64(len(text)) > most:
		return fmt.Errorf("asking the workspace daemon: its answer is over %d MiB: %w", most>>20, api.ErrTooLarge)
	case answer.StatusCode == http.StatusNotFound:
		return &Problem{fmt.Errorf("asking the workspace daemon: it does not know %s: %w", request.URL.Path, api.ErrNotFound), "it is older than this program: start it anew"}
	case answer.StatusCode == http.StatusServiceUnavailable: // of the server that it has asked
		return fmt.Errorf("asking the workspace daemon: %s: %w", strings.TrimSpace(string(text)), api.ErrUnavailable)
	case answer.StatusCode == http.StatusUnprocessableEntity:
		return refused(text)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("asking the workspace daemon: it answered %s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("asking the workspace daemon: it did not answer as one: %w", err)
	}
	return nil
}
