package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

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
are: --host "" lets the key log in everywhere, --namespace "" sign for git only.

  latchkey key set --mode sign
  latchkey key set work --host git.example=SHA256:Bs… --refuse-forwarded --usable 8h
  latchkey key set work --host "$(ssh-keyscan -t ed25519 git.example)"`,
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "mode", Value: newKeyMode(), Usage: "`MODE` is fetch or sign"},
			&cli.GenericFlag{Name: "host", Value: new(words), Usage: "it logs in to `HOST` only: NAME=FINGERPRINT, or a line of known_hosts; may be repeated"},
			&cli.GenericFlag{Name: "namespace", Value: new(words), Usage: "it makes SSH signatures in `NAMESPACE`, where git is the default and * stands for any; may be repeated"},
			&cli.BoolFlag{Name: "refuse-forwarded", Usage: "it signs for nobody on another machine, to whom the agent was forwarded"},
			durationFlag("usable", "workspaces can use it for `DURATION` from now, such as 8h; 0s: for ever"),
			jsonFlag(),
		},
		Action: p.asUser(p.keySet),
	}
}

func (p *program) keySet(c *cli.Context, s *session) error {
	hosts, err := hostsGiven(flagWords(c, "host"))
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

// hostsGiven reads what --host says.
func hostsGiven(list []string) ([]api.KeyHost, error) {
	hosts := []api.KeyHost{}
	for _, word := range list {
		for line := range strings.Lines(word) { // ssh-keyscan prints one for each kind of key
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			h, ok := hostGiven(line)
			if !ok {
				return nil, withHint(usagef("flag --host: %q is no host with its key", printable(line)),
					`"ssh-keyscan HOST | ssh-keygen -lf -" shows fingerprints, for --host NAME=SHA256:…`)
			}
			hosts = append(hosts, h)
		}
	}
	return hosts, nil
}

// hostGiven reads NAME=FINGERPRINT, or the line of a host in a known_hosts file.
func hostGiven(line string) (api.KeyHost, bool) {
	if name, fingerprint, ok := strings.Cut(line, "=SHA256:"); ok {
		sum, err := base64.RawStdEncoding.DecodeString(fingerprint)
		return api.KeyHost{Name: name, Fingerprint: "SHA256:" + fingerprint}, name != "" && err == nil && len(sum) == 32
	}
	marker, names, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
	if err != nil || marker != "" {
		return api.KeyHost{}, false
	}
	return api.KeyHost{Name: names[0], Fingerprint: ssh.FingerprintSHA256(key)}, true
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
			names = append(names, h.Name+" "+h.Fingerprint)
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
