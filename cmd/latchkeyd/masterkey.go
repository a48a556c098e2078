package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver"
)

// masterKeyCredential is the name of the systemd credential that may hold the
// master key (systemd.exec(5), LoadCredential=).
const masterKeyCredential = "latchkeyd-master-key"

func masterKeyFlag() cli.Flag {
	return &cli.PathFlag{Name: "master-key", Usage: "the master key is in `FILE`; else in the systemd credential " + masterKeyCredential + ", else in master.key in the data directory"}
}

// masterKeyPath finds where the master key is, or is to be.
func masterKeyPath(c *cli.Context, d dataDir) string {
	if path := c.Path("master-key"); path != "" {
		return path
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, masterKeyCredential)
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return d.masterKey()
}

// loadMasterKey puts the master key into config. Only a server that has stored
// nothing yet makes one: the key is on the disk before the store is, so a store
// without a key is one whose key was lost, and a new key could not open it.
func loadMasterKey(path string, hasStore, create bool, config *keyserver.Config) (made bool, err error) {
	config.MasterKey, err = keyserver.LoadMasterKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if hasStore {
		return false, withHint(fmt.Errorf("there is a store, but no master key at %s", path),
			"restore the key from a backup, or name its file with --master-key: without it, nothing in the store can be opened. No new key was made")
	}
	if !create {
		return false, withHint(fmt.Errorf("there is no master key at %s", path), "\"latchkeyd serve\" makes it on its first start; --master-key names another file")
	}
	config.MasterKey, err = keyserver.CreateMasterKey(path)
	if err == nil {
		return true, nil
	}
	return false, withHint(err, "%s", unlessFull(err, "latchkeyd must be able to write to "+filepath.Dir(path)+"; --master-key names another file"))
}
