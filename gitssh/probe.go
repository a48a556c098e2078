package gitssh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// marker is an identity that nobody has. ssh drops its default identities once
// one is named, so what it lists beside the marker is what the user named.
const marker = "/latchkey/no-such-identity"

// Probe is the ssh that prints the configuration it would use for a host: see
// [ParseConfig].
func Probe(ssh string, a Args) *exec.Cmd {
	return exec.Command(ssh, append([]string{"-G", "-o", "IdentityFile=" + marker}, a.List...)...)
}

// A Config is what the user configured for a host.
type Config struct {
	Identities []string // IdentityFile, paths
	Agent      string   // IdentityAgent: a path, "none" or "SSH_AUTH_SOCK"; "" if not set
	PKCS11     string   // PKCS11Provider: a library; "" if not set

	// KnownHosts is KnownHostsCommand; "" if not set. ssh does not print one that
	// a file sets to "none".
	KnownHosts string

	unknown bool // a path has a token that is not known here
}

// ParseConfig reads what [Probe]'s command prints. home is the account's home
// directory, getenv is os.Getenv.
func ParseConfig(output, home string, a Args, getenv func(string) string) Config {
	values := map[string]string{"n": a.Hostname(), "d": home, "i": strconv.Itoa(os.Getuid()), "%": "%"}
	var c Config
	var identities []string
	for line := range strings.Lines(output) {
		word, rest := splitWord(line)
		switch word {
		case "hostname":
			values["h"] = rest
		case "hostkeyalias":
			values["k"] = rest
		case "port":
			values["p"] = rest
		case "user":
			values["r"] = rest
		case "identityfile":
			identities = append(identities, rest)
		case "identityagent":
			c.Agent = rest
		case "pkcs11provider":
			c.PKCS11 = rest
		case knownHostsWord:
			c.KnownHosts = rest
		}
	}
	if c.KnownHosts == "" && slices.Contains(a.words(), knownHostsWord) {
		c.KnownHosts = "none"
	}
	if values["k"] == "" {
		values["k"] = values["n"]
	}
	for _, path := range identities {
		if path == marker || path == "none" {
			continue
		}
		path, ok := expand(path, values, getenv)
		c.unknown = c.unknown || !ok
		c.Identities = append(c.Identities, path)
	}
	if strings.HasPrefix(c.Agent, "$") && !strings.HasPrefix(c.Agent, "${") {
		c.Agent = getenv(c.Agent[1:])
	}
	c.Agent, _ = expand(c.Agent, values, getenv)
	if c.PKCS11 == "none" {
		c.PKCS11 = ""
	}
	return c
}

// Explicit reports whether the user has an identity of their own for the host
// that ssh would try after an agent's: the file of a private key, or a PKCS #11
// library. A name without a private key there does not count: ssh itself puts
// it before the other keys of an agent if it finds its public half.
func (c Config) Explicit() bool {
	if c.unknown {
		return true
	}
	if slices.ContainsFunc(c.Identities, holdsPrivateKey) {
		return true
	}
	_, err := os.Stat(c.PKCS11)
	return err == nil
}

// holdsPrivateKey reports whether a file is a PEM file, which a public key's is
// not. Of a key that is not encrypted it reads nothing but that.
func holdsPrivateKey(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [len("-----BEGIN ")]byte
	n, _ := f.Read(head[:])
	return string(head[:n]) == "-----BEGIN "
}

// expand resolves the tokens of ssh_config(5) that a path may have. It reports
// whether it knew all of them: newer versions of ssh print paths resolved, and
// %C and %j are not worth it.
func expand(path string, values map[string]string, getenv func(string) string) (string, bool) {
	known := true
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = filepath.Join(values["d"], path[1:])
	} else if strings.HasPrefix(path, "~") {
		known = false
	}
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		switch rest := path[i:]; {
		case rest[0] == '%' && len(rest) > 1:
			value, ok := values[rest[1:2]]
			known = known && ok
			out.WriteString(value)
			i++
		case strings.HasPrefix(rest, "${") && strings.Contains(rest, "}"):
			end := strings.IndexByte(rest, '}')
			out.WriteString(getenv(rest[2:end]))
			i += end
		default:
			out.WriteByte(rest[0])
		}
	}
	return out.String(), known
}

// HomeDir is the home directory that the account database names for this user,
// which ssh uses whatever $HOME says.
func HomeDir() (string, error) {
	uid := strconv.Itoa(os.Getuid())
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return "", fmt.Errorf("looking up the home directory: %w", err)
	}
	for line := range strings.Lines(string(accounts)) {
		if f := strings.Split(line, ":"); len(f) >= 7 && f[2] == uid {
			return f[5], nil
		}
	}
	return os.UserHomeDir() // of an account that a directory service names
}
