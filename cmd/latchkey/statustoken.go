package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// A tokenStatus is what is known of the workspace token by which programs go where no
// daemon runs.
type tokenStatus struct {
	URL       string `json:"url"`
	From      string `json:"from"` // a file or a variable
	User      string `json:"user,omitempty"`
	Workspace string `json:"workspace,omitempty"`
	Error     string `json:"error,omitempty"`
}

// workspaceTokenStatus asks the server about the token; it is nil if none is set.
func workspaceTokenStatus(ctx context.Context) (*tokenStatus, error) {
	credentials, err := workspace.LoadCredentials(workspace.CredentialsConfig{Getenv: os.Getenv})
	if errors.Is(err, workspace.ErrNoToken) {
		return nil, nil
	}
	if err != nil {
		return &tokenStatus{Error: err.Error()}, explainWorkspace(err)
	}
	defer credentials.Close()
	st := &tokenStatus{URL: credentials.URL, From: credentials.From}
	client, err := credentials.Client()
	if err != nil {
		st.Error = err.Error()
		return st, explainWorkspace(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	self, err := client.Self(ctx)
	if err != nil {
		st.Error = err.Error()
		err = fmt.Errorf("the workspace token of %s: %w", st.From, err)
		if errors.Is(err, api.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			return st, withHint(err, "is latchkeyd running at "+st.URL+"? LATCHKEY_URL says where it is")
		}
		return st, explainWorkspace(err)
	}
	st.User, st.Workspace = self.User.Name, self.Workspace.Name
	return st, nil
}

func (t *tokenStatus) rows() [][]string {
	switch {
	case t == nil:
		return nil
	case t.From == "":
		return [][]string{{"token", "of no use"}}
	case t.Error != "":
		return [][]string{{"token", fmt.Sprintf("by %s, for %s: of no use now", t.From, t.URL)}}
	}
	return [][]string{
		{"token", fmt.Sprintf("by %s, for the workspace %s of %s at %s", t.From, t.Workspace, t.User, t.URL)},
		{"", `without a daemon, git's helper (latchkey gitssh) and "latchkey run" go by it`},
	}
}
