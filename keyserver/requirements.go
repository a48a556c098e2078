package keyserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	maxRequirements = 100
	maxHelp         = 1000 // bytes
)

// requirements checks the list of what a workspace needs.
func (s *Server) requirements(p *problems, field string, list []api.Requirement) {
	if len(list) > maxRequirements {
		p.add(field, "has %d entries; at most %d are allowed", len(list), maxRequirements)
		return
	}
	for i, r := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case r.EnvName == "" && r.FilePath == "":
			p.add(at+".env_name", "is missing, and so is file_path: give one of them")
		case r.EnvName != "" && r.FilePath != "":
			p.add(at+".file_path", "is given together with env_name: give one of them, and a requirement for each")
		case r.EnvName != "":
			s.envName(p, at+".env_name", r.EnvName)
		default:
			p.filePath(at+".file_path", r.FilePath)
		}
		switch {
		case r.Help == "":
			p.add(at+".help", "is missing: say what it is, and where to get one")
		case len(r.Help) > maxHelp:
			p.add(at+".help", "has %d bytes; at most %d are allowed", len(r.Help), maxHelp)
		case strings.ContainsFunc(r.Help, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f }):
			p.add(at+".help", "holds a control character")
		}
		if slices.ContainsFunc(list[:i], func(o api.Requirement) bool { return o.EnvName == r.EnvName && o.FilePath == r.FilePath }) {
			p.add(at, "is there twice")
		}
	}
}

func (s *Server) showWorkspace(ctx context.Context, c *call, _ none) (api.Workspace, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return api.Workspace{}, err
	}
	return wireWorkspace(w), nil
}

func (s *Server) updateWorkspace(ctx context.Context, c *call, in api.UpdateWorkspaceRequest) (api.Workspace, error) {
	var p problems
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return api.Workspace{}, err
	}
	var changed []string
	changed = set(changed, "labels", &w.Labels, in.Labels)
	changed = set(changed, "refuse_secrets", &w.RefuseSecrets, in.RefuseSecrets)
	changed = set(changed, "requirements", &w.Requirements, in.Requirements)
	changed = set(changed, "key_mode", &w.KeyMode, in.KeyMode)
	if len(changed) == 0 {
		p.add("labels", "is missing, and so are refuse_secrets, requirements and key_mode: there is nothing to change")
	}
	p.keyMode("key_mode", w.KeyMode)
	if in.Labels != nil {
		p.names("labels", *in.Labels)
	}
	if in.Requirements != nil {
		s.requirements(&p, "requirements", *in.Requirements)
	}
	if err := p.err("the workspace can't be changed"); err != nil {
		return api.Workspace{}, err
	}
	e := c.event(c.owner.Name + "/" + w.Name)
	e.Detail = workspaceDetail(w)
	switch err := s.store.UpdateWorkspace(ctx, w, e); {
	case errors.Is(err, api.ErrConflict):
		return api.Workspace{}, refusal(api.ErrConflict, "look at the workspace and try again", "workspace %s was changed at the same time", w.Name)
	case errors.Is(err, api.ErrNotFound):
		return api.Workspace{}, noWorkspace(c)
	case err != nil:
		return api.Workspace{}, fmt.Errorf("storing workspace %s: %w", w.Name, err)
	}
	return wireWorkspace(w), nil
}

// workspaceDetail is what keys and secrets a workspace takes, in the audit log.
func workspaceDetail(w Workspace) string {
	text := fmt.Sprintf("takes user secrets: %t, %d requirements", !w.RefuseSecrets, len(w.Requirements))
	if w.KeyMode == api.SignMode {
		text = "gets no private keys, " + text
	}
	if len(w.Labels) == 0 {
		return text
	}
	return bounded(text+", labels", w.Labels)
}

// checkWorkspace says which requirements of a workspace are met.
func (s *Server) checkWorkspace(ctx context.Context, c *call, _ none) ([]api.RequirementCheck, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return nil, err
	}
	all, _, err := s.store.Secrets(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", gone(c, err))
	}
	return wireAll(w.Requirements, func(r api.Requirement) api.RequirementCheck {
		check := api.RequirementCheck{Requirement: r}
		i := slices.IndexFunc(all, func(sec Secret) bool {
			return r.EnvName != "" && sec.EnvName == r.EnvName || r.FilePath != "" && sec.FilePath == r.FilePath
		})
		if i < 0 {
			check.Why = "there is no secret for it"
			return check
		}
		check.Secret = all[i].Name
		switch {
		case w.RefuseSecrets:
			check.Why = "the workspace takes no user secrets"
		case !all[i].Enabled:
			check.Why = "the secret is disabled"
		case !all[i].covers(w):
			check.Why = "the secret is limited to other workspaces"
		default:
			check.Met = true
		}
		return check
	}), nil
}
