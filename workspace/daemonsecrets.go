package workspace

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/secretfile"
)

// StateDir is the directory of what a workspace's daemons must know of earlier
// ones: $XDG_STATE_HOME/latchkey, else ~/.local/state/latchkey; "" without a
// home directory. It makes nothing.
func StateDir(getenv func(string) string) string {
	// The XDG base directory specification wants relative paths ignored.
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "latchkey")
	}
	if home := HomeDir(getenv); home != "" {
		return filepath.Join(home, ".local", "state", "latchkey")
	}
	return ""
}

// HomeDir is $HOME, or "" if that is not set or is no directory: many services
// run without one.
func HomeDir(getenv func(string) string) string {
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return ""
	}
	if info, err := os.Stat(home); err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Clean(home)
}

// openSecrets makes ready what keeps secrets. A daemon that takes none removes
// what one before it has left.
func (d *Daemon) openSecrets() (closeFiles func(), err error) {
	c := d.config
	stateDir := c.StateDir
	if stateDir == "" {
		stateDir = c.Dir
	}
	fileConfig := secretfile.Config{Home: c.Home, StateDir: stateDir, Forbidden: []string{c.Dir}, Log: d.log}
	if c.FilesInMemory {
		if fileConfig.MemoryDir, err = memoryDir(c.Dir, stateDir); err != nil {
			return nil, err
		}
	}
	age := c.SecretCache
	if c.NoSecrets {
		age = 0
	}
	cache, err := newSecretCache(c.Dir, age, c.Credentials)
	if err != nil {
		return nil, err
	}
	files := &lateFiles{config: fileConfig}
	closeFiles = func() {
		if err := files.close(); err != nil {
			d.log.Warn("the journal of the files of secrets was not closed", "err", err)
		}
	}
	s := newSecretSync(c.Client, files, c.Home, d.log)
	if c.NoSecrets {
		s.removeFiles()
		return closeFiles, nil
	}
	s.cache = cache
	s.heard = d.follow.hear
	s.refused = func(err error) {
		d.source.refuse(err)
		d.agent.Forget()
		d.ssh.ask(spread)
	}
	d.source.refused = func(err error) {
		d.agent.Forget()
		d.ssh.ask(spread)
		s.doubt(err)
	}
	d.secrets = s
	return closeFiles, nil
}

// memoryDir is where the files of secrets lie that shall not be on a disk: in
// the runtime directory, if that is in memory, else in /dev/shm, in a directory
// of those daemons alone that have the same journal.
func memoryDir(runtimeDir, stateDir string) (string, error) {
	journal := sha256.Sum256([]byte(stateDir))
	for _, dir := range []struct{ on, path string }{
		{runtimeDir, filepath.Join(runtimeDir, "files")},
		{"/dev/shm", fmt.Sprintf("/dev/shm/latchkey-%d-%x", os.Geteuid(), journal[:8])},
	} {
		if ok, err := isInMemory(dir.on); err == nil && ok {
			return dir.path, nil
		}
	}
	return "", &Problem{fmt.Errorf("--files-in-memory: neither the runtime directory %s nor /dev/shm is in memory (tmpfs)", runtimeDir),
		"name one that is by LATCHKEY_RUNTIME_DIR, or leave --files-in-memory out"}
}

// followServer follows the server until ctx ends or stop is called, which
// removes the files of secrets first: what else follows may wait for a server that
// does not answer. stop may be called twice.
func (d *Daemon) followServer(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var secrets, others sync.WaitGroup
	others.Go(func() { d.follow.run(ctx) })
	stopSecrets := func() {}
	if d.secrets != nil {
		stopSecrets = d.secrets.stop
		secrets.Go(func() { d.secrets.run(ctx) })
	} else {
		others.Go(func() { watch(ctx, d.config.Client, d.follow) })
	}
	return sync.OnceFunc(func() {
		cancel()
		secrets.Wait()
		stopSecrets()
		others.Wait()
	})
}

// lateFiles writes the files of secrets once they can be written. A read-only
// home directory, or another daemon of the same one, is no reason to have no
// keys; what it is, the states of the secrets say.
type lateFiles struct {
	config secretfile.Config
	files  *secretfile.Files // nil: could not be opened yet
}

func (l *lateFiles) open() (err error) {
	if l.files == nil {
		l.files, err = secretfile.Open(l.config)
	}
	return err
}

func (l *lateFiles) Deliver(files []secretfile.File) []secretfile.Result {
	err := l.open()
	if err == nil {
		return l.files.Deliver(files)
	}
	results := make([]secretfile.Result, 0, len(files))
	for _, f := range files {
		results = append(results, secretfile.Result{Secret: f.Secret, Path: f.Path, Version: f.Version, State: api.Failed, Detail: err.Error()})
	}
	return results
}

func (l *lateFiles) Remove() []secretfile.Result {
	if err := l.open(); err != nil {
		// Which files there are, nobody knows then.
		return []secretfile.Result{{State: api.Failed, Detail: err.Error()}}
	}
	return l.files.Remove()
}

func (l *lateFiles) close() error {
	if l.files == nil {
		return nil
	}
	return l.files.Close()
}
