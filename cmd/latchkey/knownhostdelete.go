package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

func (p *program) knownHostDeleteCommand() *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "take a line out of the known hosts", ArgsUsage: "LINE",
		Description: `LINE is one of its hosts, its fingerprint or its ID, as "latchkey known-host list" shows
them. Where several lines have that, it says which, and wants the ID of one. A line of several
hosts goes as a whole.

  latchkey known-host delete forge.example
  latchkey known-host delete '*.forge.example'`,
		Flags: []cli.Flag{yesFlag()}, Action: p.asUser(p.knownHostDelete),
	}
}

func (p *program) knownHostDelete(c *cli.Context, s *session) error {
	h, err := p.knownHostLine(c, s, withPorts(c.Args().First()))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("ssh in everybody's workspaces goes no more by the key %s of %s", h.Fingerprint, h.Hosts)
	if h.Marker == knownhost.Revoked {
		what = fmt.Sprintf("ssh in everybody's workspaces accepts the revoked key %s of %s again, where it is known", h.Fingerprint, h.Hosts)
	}
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.DeleteKnownHost(c.Context, h.ID); err != nil {
		return err
	}
	p.note("the known host %s is deleted", h.Hosts)
	return nil
}

// knownHostLine finds the one line that is meant. Several are shown: which of a
// host's keys is no longer right is nothing to guess, and the ID tells them apart.
func (p *program) knownHostLine(c *cli.Context, s *session, meant string) (api.KnownHost, error) {
	list, err := s.KnownHosts(c.Context)
	if err != nil {
		return api.KnownHost{}, err
	}
	var found []api.KnownHost
	var names []string
	for _, h := range list {
		if isMeant(h, meant) {
			found = append(found, h)
		}
		names = append(append(names, h.ID), strings.Split(h.Hosts, ",")...)
	}
	switch len(found) {
	case 0:
		return api.KnownHost{}, notFound(fmt.Errorf("known host %s: %w", meant, api.ErrNotFound), meant, names, "latchkey known-host list")
	case 1:
		return found[0], nil
	}
	for _, h := range found {
		p.note("%s  %s", h.ID, strings.TrimSpace(h.Marker+" "+h.Hosts+" "+h.KeyType+" "+h.Fingerprint))
	}
	return api.KnownHost{}, withHint(fmt.Errorf("known host %s: %d lines have it, and nothing was changed", meant, len(found)),
		"name one by its ID: latchkey known-host delete "+found[0].ID)
}

// isMeant reports whether a line has what the list shows of it. It does not match as
// ssh does: a line for * is not one of each host.
func isMeant(h api.KnownHost, meant string) bool {
	return strings.EqualFold(h.ID, meant) || h.Fingerprint == meant || h.Hosts == meant ||
		slices.Contains(strings.Split(h.Hosts, ","), strings.ToLower(meant))
}
