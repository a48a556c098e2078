package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) tokenCommand() *cli.Command {
	return &cli.Command{
		Name:      "token",
		Usage:     "make a session token for a user who has none left",
		ArgsUsage: "USER",
		Description: `Prints the line with which USER logs in; the token in it is good for a day, and
logging in replaces it. It goes to the store itself, so it works with a server that runs
and without, for whoever can read the data directory. It is on record in the
audit log.

  latchkeyd token admin`,
		Flags:  []cli.Flag{dataFlag(), masterKeyFlag()},
		Action: p.token,
	}
}

func (p *program) token(c *cli.Context) (err error) {
	harden.Process() // the server's log names the gaps
	dir, err := existingData(c)
	if err != nil {
		return err
	}
	var config keyserver.Config
	if _, err := loadMasterKey(masterKeyPath(c, dir), true, false, &config); err != nil {
		return err
	}
	if config.Store, err = openStore(c.Context, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, config.Store.Close()) }()
	server, err := keyserver.New(c.Context, config)
	if err != nil {
		return err
	}
	token, err := server.IssueToken(c.Context, c.Args().First())
	if errors.Is(err, api.ErrNotFound) {
		return withHint(err, "names are told apart by case; \"latchkey user list\" shows them to admins")
	}
	if err != nil {
		return err
	}
	s, err := dir.serving()
	if err != nil || s.URL == "" {
		s = serving{URL: api.DefaultURL} // no server has said where it is
	}
	return p.print("%s\n", s.loginLine(token))
}

// existingData finds the data directory of a server that has been started
// before: these commands make none.
func existingData(c *cli.Context) (dataDir, error) {
	dir, err := dataDirOf(c)
	if err != nil {
		return "", err
	}
	if err := dir.check(); err != nil {
		return "", err
	}
	stored, err := dir.hasStore()
	if err == nil && !stored {
		err = withHint(errors.New("there is no store in "+string(dir)), "\"latchkeyd serve\" makes it; if it is elsewhere, name its directory with --data DIR or %s", dataVariable)
	}
	return dir, err
}
