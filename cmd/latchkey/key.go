package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) keyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "show and change your SSH keys",
		Subcommands: []*cli.Command{
			{
				Name: "show", Usage: "show one key", ArgsUsage: "[NAME]",
				Description: `Shows the key "default" if you give no name.`,
				Flags:       []cli.Flag{jsonFlag(), userFlag()},
				Action:      p.asUser(p.keyShow),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list your keys",
				Flags:  []cli.Flag{jsonFlag(), userFlag()},
				Action: p.asUser(p.keyList),
			},
			{
				Name: "create", Usage: "make a further key", ArgsUsage: "NAME",
				Description: `Prints the new public key. The key "default" was made with your account.`,
				Flags:       []cli.Flag{algorithmFlag("what the server makes by default"), jsonFlag()},
				Action:      p.asUser(p.keyCreate),
			},
			{
				Name: "rotate", Usage: "replace a key by a new one", ArgsUsage: "[NAME]",
				Description: `Prints the new public key, which goes into each forge that knows the old one.
With --keep-old both are offered for a while.

  latchkey key rotate --keep-old 24h`,
				Flags: []cli.Flag{
					keepOldFlag(), algorithmFlag("as before"),
					&cli.Int64Flag{Name: "generation", Usage: "only if `N` is the generation to be replaced"},
					yesFlag(), jsonFlag(),
				},
				Action: p.asUser(p.keyRotate),
			},
			p.keySetCommand(),
			p.keyImportCommand(),
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a key for good", ArgsUsage: "NAME",
				Flags:  []cli.Flag{yesFlag()},
				Action: p.asUser(p.keyDelete),
			},
		},
	}
}

func (p *program) keyShow(c *cli.Context, s *session) error {
	k, err := s.key(c.Context, c.String("user"), keyName(c.Args().First()))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(k)
	}
	if k.LastFetchedBy != "" {
		k.LastFetchedBy = s.workspaceName(c.Context, c.String("user"), k.LastFetchedBy)
	}
	return p.details(keyDetails(k))
}

// workspaceName is what a user calls the workspace with an ID; the ID if it is not to
// be had, as of one that was deleted.
func (s *session) workspaceName(ctx context.Context, user, id string) string {
	list, err := s.Workspaces(ctx, user)
	if i := slices.IndexFunc(list, func(w api.Workspace) bool { return w.ID == id }); err == nil && i >= 0 {
		return list[i].Name
	}
	return id
}

func keyDetails(k api.Key) [][]string {
	fetched := "never"
	if k.LastFetchedAt != nil {
		fetched = humaneOr(k.LastFetchedAt, "") + ", by workspace " + k.LastFetchedBy
	}
	origin := "made by the server"
	if k.Imported {
		origin = "imported"
	}
	serves := policyWords(k.Mode, k.Policy)
	return [][]string{
		{"name", k.Name},
		{"public key", k.PublicKey},
		{"fingerprint", k.Fingerprint},
		{"algorithm", string(k.Algorithm) + ", " + origin},
		{"generation", fmt.Sprintf("%d, %s", k.Generation, humane(k.UpdatedAt, time.Now()))},
		{"mode", string(k.Mode) + ": " + serves[0]},
		{"policy", strings.Join(serves[1:], "; ")},
		{"last fetched", fetched},
		{"expires", expiry(k, time.Now())},
	}
}

func (p *program) keyList(c *cli.Context, s *session) error {
	keys, err := s.Keys(c.Context, c.String("user"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonList(p, keys)
	}
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{
			k.Name, strconv.FormatInt(k.Generation, 10), string(k.Algorithm), k.Fingerprint,
			humane(k.UpdatedAt, time.Now()), humaneOr(k.LastFetchedAt, "never"), expiry(k, time.Now()),
		})
	}
	return p.table("NAME\tGENERATION\tALGORITHM\tFINGERPRINT\tMADE\tLAST FETCHED\tEXPIRES", rows)
}

// expiry says when a key ends to be of use, or that it has: "" if it never does.
func expiry(k api.Key, now time.Time) string {
	at := expires(k)
	switch {
	case at == nil:
		return ""
	case !at.After(now):
		return "expired " + humane(*at, now)
	}
	return humane(*at, now)
}

// expires is when a key ends to be of use, nil if never: a replaced one is no longer
// offered, or its policy has it usable only until then.
func expires(k api.Key) *time.Time {
	until := k.Policy.UsableUntil
	if k.ExpiresAt == nil || until != nil && until.Before(*k.ExpiresAt) {
		return until
	}
	return k.ExpiresAt
}

func (p *program) keyCreate(c *cli.Context, s *session) error {
	name := c.Args().First()
	k, err := s.CreateKey(c.Context, api.Me, api.CreateKeyRequest{Name: name, Algorithm: chosen[api.Algorithm](c, "algorithm")})
	if errors.Is(err, api.ErrConflict) {
		return withHint(err, fmt.Sprintf(`"latchkey key rotate %s" replaces a key; "latchkey key list" shows all`, name))
	}
	if err != nil {
		return err
	}
	return p.newKey(c, k, "was made")
}

func (p *program) keyRotate(c *cli.Context, s *session) error {
	old, err := s.key(c.Context, api.Me, keyName(c.Args().First()))
	if err != nil {
		return err
	}
	r := api.RotateKeyRequest{
		// What was confirmed is what is replaced.
		Generation:     old.Generation,
		Algorithm:      chosen[api.Algorithm](c, "algorithm"),
		KeepOldSeconds: seconds(c, "keep-old"),
	}
	if err := checkKeepOld(r.KeepOldSeconds); err != nil {
		return err
	}
	if c.IsSet("generation") {
		r.Generation = c.Int64("generation")
	}
	if err := p.confirm(c.Bool("yes"), replacing(old, r.KeepOldSeconds, "a new one")); err != nil {
		return err
	}
	k, err := s.rotate(c.Context, old, r)
	if err != nil {
		return err
	}
	return p.newKey(c, k, "has been replaced: generation "+strconv.FormatInt(k.Generation, 10))
}

// maxKeepOld is the API's.
const maxKeepOld = 30 * 24 * time.Hour

func checkKeepOld(seconds int64) error {
	if seconds > int64(maxKeepOld.Seconds()) {
		return usagef("flag --keep-old: a replaced key is offered for at most %s", span(maxKeepOld))
	}
	return nil
}

// rotate replaces a key, and says what to do if somebody else was faster.
func (s *session) rotate(ctx context.Context, old api.Key, r api.RotateKeyRequest) (api.Key, error) {
	k, err := s.RotateKey(ctx, api.Me, old.Name, r)
	if errors.Is(err, api.ErrConflict) {
		return k, withHint(err, fmt.Sprintf(`"latchkey key show %s" shows what is there now`, old.Name))
	}
	return k, err
}

// replacing says what a rotation will do.
func replacing(old api.Key, keepOldSeconds int64, by string) string {
	text := fmt.Sprintf("the key %s (%s, generation %d) is replaced by %s; the old one ", old.Name, old.Fingerprint, old.Generation, by)
	if keepOldSeconds == 0 {
		return text + "is no longer offered from now on, and logins with it fail where the new one is not registered"
	}
	until := time.Now().Add(time.Duration(keepOldSeconds) * time.Second)
	return text + "is offered until " + until.Format("2006-01-02 15:04 MST")
}

// newKey prints the public key that there is to register now.
func (p *program) newKey(c *cli.Context, k api.Key, what string) error {
	if c.Bool("json") {
		return p.json(k)
	}
	p.note("the key %s %s; paste this line into your forge", k.Name, what)
	return p.print("%s\n", printable(k.PublicKey))
}

func (p *program) keyDelete(c *cli.Context, s *session) error {
	k, err := s.key(c.Context, api.Me, c.Args().First())
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the key %s (%s) is deleted for good, and logins with it fail", k.Name, k.Fingerprint)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.DeleteKey(c.Context, api.Me, k.Name); err != nil {
		return err
	}
	p.note("the key %s is deleted", k.Name)
	return nil
}

func keyName(argument string) string {
	if argument == "" {
		return api.DefaultKey
	}
	return argument
}

// key asks for a key, and for the one that was probably meant if there is none.
func (s *session) key(ctx context.Context, user, name string) (api.Key, error) {
	k, err := s.Key(ctx, user, name)
	if !errors.Is(err, api.ErrNotFound) {
		return k, err
	}
	keys, lerr := s.Keys(ctx, user)
	if lerr != nil {
		return k, err // the user is not there, or not ours to see
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return k, notFound(err, name, names, "latchkey key list")
}

// notFound adds to an error the name that was probably meant.
func notFound(err error, name string, names []string, list string) error {
	switch near := nearest(name, names); {
	case near != "" && near != name:
		return withHint(err, fmt.Sprintf("there is %s; %q shows all names", near, list))
	case len(names) == 0:
		return withHint(err, fmt.Sprintf("there is none at all: %q", list))
	}
	return withHint(err, fmt.Sprintf("%q shows all names", list))
}
