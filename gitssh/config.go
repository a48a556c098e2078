package gitssh

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The words of ssh_config(5) that decide which identities the user wants for a
// host.
var identityWords = []string{"identityfile", "identityagent", "pkcs11provider"}

// The word that names a command of the user's own for known hosts.
const knownHostsWord = "knownhostscommand"

// SystemDir is where ssh is usually built to look for the system's configuration.
const SystemDir = "/etc/ssh"

// Bounds on what is read of the user's configuration. Who has more pays for a
// second ssh.
const (
	maxIncludes    = 256
	maxConfigBytes = 1 << 20
)

// MayName reports whether the arguments or the configuration files that ssh will
// read name identities, or a command for known hosts, for some host. Then only ssh
// can tell whether they are meant for this one: see [Probe]. Without a second ssh,
// most need none.
//
// home is the directory that ssh takes for the user's, see [HomeDir], and system
// that of its own configuration, which is [SystemDir].
func (a Args) MayName(home, system string) bool {
	if a.Has("iI") || slices.ContainsFunc(a.words(), isWanted) {
		return true
	}
	s := scan{home: home}
	if file := a.Value('F'); file != "" {
		return file != "none" && s.file(file, filepath.Join(home, ".ssh"))
	}
	return s.file(filepath.Join(home, ".ssh/config"), filepath.Join(home, ".ssh")) ||
		s.file(filepath.Join(system, "ssh_config"), system)
}

func isWanted(word string) bool {
	return word == knownHostsWord || slices.Contains(identityWords, word)
}

// A scan looks in files for the words that are wanted.
type scan struct {
	home  string
	files int
	bytes int64
}

// file reports whether a file, or one that it includes, has one of the words or
// cannot be understood. Relative includes are below dir.
func (s *scan) file(path, dir string) bool {
	if s.files++; s.files > maxIncludes {
		return true
	}
	f, err := os.Open(path)
	if err != nil {
		return !os.IsNotExist(err) && !os.IsPermission(err) // ssh passes over both
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes-s.bytes+1))
	s.bytes += int64(len(text))
	if err != nil || s.bytes > maxConfigBytes {
		return true
	}
	for line := range strings.Lines(string(text)) {
		word, rest := splitWord(line)
		if isWanted(word) || word == "include" && s.include(rest, dir) {
			return true
		}
	}
	return false
}

// include is file for each file of an Include line.
func (s *scan) include(patterns, dir string) bool {
	if strings.ContainsAny(patterns, `%$\'#`) {
		return true // tokens and quoting that only ssh should read
	}
	for _, pattern := range strings.Fields(patterns) {
		if strings.Count(pattern, `"`)%2 != 0 {
			return true // a name with a blank
		}
		pattern = strings.ReplaceAll(pattern, `"`, "")
		if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
			pattern = filepath.Join(s.home, rest)
		}
		if strings.HasPrefix(pattern, "~") {
			return true // another user's home
		}
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return true
		}
		for _, path := range paths {
			if s.file(path, dir) {
				return true
			}
		}
	}
	return false
}

// splitWord splits a line of ssh_config(5), "Word value", "Word=value" or
// `"Word" value`, and gives the word in lower case.
func splitWord(line string) (word, rest string) {
	line = strings.Trim(line, " \t\r\n\f")
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		word, rest, _ = strings.Cut(quoted, `"`)
	} else if i := strings.IndexAny(line, " \t\r\f="); i >= 0 {
		word, rest = line[:i], line[i:]
	} else {
		word = line
	}
	rest = strings.TrimLeft(rest, " \t\r\f")
	if r, ok := strings.CutPrefix(rest, "="); ok {
		rest = strings.TrimLeft(r, " \t\r\f")
	}
	return strings.ToLower(word), rest
}
