package secretfile

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A place is where a file is: a name in a directory that is found from an open one.
type place struct {
	from  dir
	parts []string // directories
	name  string
	path  string // from the root, without links
}

// below reports whether a path is a directory's, or below it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// place finds a path that has no links from the home directory, or else the root.
func (f *Files) place(abs string) place {
	from := f.slash
	if f.homeless == nil && below(abs, f.home.path) && abs != f.home.path {
		from = f.home
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(abs, from.path), "/")
	parts := strings.Split(rest, "/")
	last := len(parts) - 1
	return place{from, parts[:last], parts[last], abs}
}

const tempPrefix, tempSuffix = ".latchkey-", ".tmp"

// tempName is that of a target's temporary file, which lies beside it. A
// process that is started again finds it by the same rule.
func tempName(target string) string { return tempPrefix + digest(target) + tempSuffix }

// digest is a name for a path, which may be longer than a name can be.
func digest(p string) string {
	h := sha256.Sum256([]byte(p))
	return hex.EncodeToString(h[:12])
}

// resolve finds the targets of files. What has none has a result instead: the
// server checked the paths, but it is not believed.
func (f *Files) resolve(files []File) ([]*target, []Result) {
	targets := make([]*target, len(files))
	all := results(files, api.Delivered, "")
	first := map[string]string{}
	for i, file := range files {
		abs, err := f.absolute(file.Path)
		if err != nil {
			problem := faultOf(file.Path, err)
			all[i].State, all[i].Detail = problem.state, problem.detail
			continue
		}
		if other, taken := first[abs]; taken {
			all[i].State, all[i].Detail = api.Shadowed, "the secret "+other+" has the same file; give one of them another path"
			continue
		}
		first[abs] = file.Secret
		targets[i] = f.target(file, f.place(abs))
	}
	return targets, all
}

// absolute is a secret's path from the root, without links.
func (f *Files) absolute(p string) (string, error) {
	if err := api.CheckFilePath(p); err != nil {
		return "", blocked("the path %v; choose another one", err)
	}
	if base := path.Base(p); strings.HasPrefix(base, tempPrefix) && strings.HasSuffix(base, tempSuffix) {
		return "", blocked("the name %s is one of Latchkey's temporary files; choose another one", base)
	}
	rest, inHome := strings.CutPrefix(p, "~/")
	for _, home := range []string{f.config.Home, f.home.path} {
		if tilde := api.HomePath(p, home); !inHome && home != "" && tilde != p {
			rest, inHome = strings.CutPrefix(tilde, "~/")
		}
	}
	if inHome && f.homeless != nil {
		return "", f.homeless
	}
	abs := p
	if inHome {
		abs = path.Join(f.home.path, rest)
	}
	// It may be reserved by its other name: /home/alice/.bashrc, or /etc/passwd
	// as ~/etc/passwd of somebody whose home is the root.
	others := []string{abs}
	switch {
	case f.home.path == "/":
		others = append(others, "~"+abs)
	case inHome:
		others = []string{"~/" + rest}
	}
	for _, other := range others {
		if err := api.CheckFilePath(other); err != nil {
			return "", blocked("the path %v; choose another one", err)
		}
	}
	for _, d := range f.forbidden() {
		if below(abs, d) {
			return "", blocked("%s is a directory of Latchkey's own; choose another path", d)
		}
	}
	return abs, nil
}

// forbidden are the directories in which no secret's file may be, as they are
// named and as they are without links.
func (f *Files) forbidden() []string {
	var all []string
	for _, d := range append([]string{f.config.StateDir, f.config.MemoryDir}, f.config.Forbidden...) {
		if !filepath.IsAbs(d) {
			continue
		}
		all = append(all, filepath.Clean(d))
		if real, err := filepath.EvalSymlinks(d); err == nil {
			all = append(all, real)
		}
	}
	return all
}
