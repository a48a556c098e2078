package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

// How a key serves, and what it signs.

func newKeyMode() *choice[api.KeyMode] {
	return &choice[api.KeyMode]{choices: []api.KeyMode{api.FetchMode, api.SignMode}}
}

func (p *program) keySetCommand() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "say how a key serves, and what it signs", ArgsUsage: "[NAME]",
		Description: `With --mode sign the private key stays at the server, which signs for workspaces and
holds each signature against what is set here; else a workspace's daemon does, which has
the key. What is not given stays as it is. Hosts and namespaces replace all that there
are: --host "" lets the key log in everywhere, --namespace "" sign for git only. A host's
name alone stands for the keys that the server's known hosts have for it now, those that
sign its certificates included.

  latchkey key set --mode sign
  latchkey key set work --host git.example --refuse-forwarded --usable 8h
  latchkey key set work --host git.example=SHA256:Bs… --host forge.example=SHA256:x2…
  latchkey key set work --host "$(ssh-keyscan -t ed25519 git.example)"`,
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "mode", Value: newKeyMode(), Usage: "`MODE` is fetch or sign"},
			&cli.GenericFlag{Name: "host", Value: new(words), Usage: "it logs in to `HOST` only: NAME, NAME:PORT, NAME=FINGERPRINT, or a line of known_hosts; may be repeated"},
			&cli.GenericFlag{Name: "namespace", Value: new(words), Usage: "it makes SSH signatures in `NAMESPACE`, where git is the default and * stands for any; may be repeated"},
			&cli.BoolFlag{Name: "refuse-forwarded", Usage: "it signs for nobody on another machine, to whom the agent was forwarded"},
			durationFlag("usable", "workspaces can use it for `DURATION` from now, such as 8h; 0s: for ever"),
			jsonFlag(),
		},
		Action: p.asUser(p.keySet),
	}
}

func (p *program) keySet(c *cli.Context, s *session) error {
	hosts, err := p.hostsGiven(c.Context, s, flagWords(c, "host"))
	if err != nil {
		return err
	}
	r := api.UpdateKeyRequest{
		Mode:            ifGiven(c, "mode", chosen[api.KeyMode](c, "mode")),
		Hosts:           ifGiven(c, "host", hosts),
		Namespaces:      ifGiven(c, "namespace", flagWords(c, "namespace")),
		RefuseForwarded: ifGiven(c, "refuse-forwarded", c.Bool("refuse-forwarded")),
		UsableSeconds:   ifGiven(c, "usable", seconds(c, "usable")),
	}
	if r == (api.UpdateKeyRequest{}) {
		return withHint(usagef("key set: what to set is missing"), `"latchkey key set --help" lists the flags`)
	}
	old, err := s.key(c.Context, api.Me, keyName(c.Args().First()))
	if err != nil {
		return err
	}
	k, err := s.UpdateKey(c.Context, api.Me, old.Name, r)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(k)
	}
	p.note("the key %s is set: %s", k.Name, strings.Join(policyWords(k.Mode, k.Policy), "; "))
	if r.Mode != nil && *r.Mode != k.Mode {
		p.note("the server is set to keep all private keys, so the mode stays %s", k.Mode)
	}
	return nil
}

// policyWords says how a key serves, and what it signs.
func policyWords(mode api.KeyMode, policy api.KeyPolicy) []string {
	serves := "workspaces fetch it"
	if mode == api.SignMode {
		serves = "it stays at the server, which signs"
	}
	hosts := "it logs in everywhere"
	if len(policy.Hosts) > 0 {
		var names []string
		for _, h := range policy.Hosts {
			by := " "
			if h.Authority {
				by = " certified by "
			}
			names = append(names, h.Name+by+h.Fingerprint)
		}
		hosts = "it logs in to " + strings.Join(names, ", ")
	}
	said := []string{serves, hosts, "SSH signatures for " + strings.Join(policy.Namespaces, ", ")}
	if policy.RefuseForwarded {
		said = append(said, "not for forwarded agents")
	}
	if until := policy.UsableUntil; until != nil {
		when := "usable"
		if !time.Now().Before(*until) {
			when = "was usable"
		}
		said = append(said, fmt.Sprintf("%s until %s", when, until.Local().Format("2006-01-02 15:04 MST")))
	}
	return said
}
