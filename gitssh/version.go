package gitssh

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// A Version is that of an OpenSSH; zero for one that is not known.
type Version struct{ Major, Minor int }

func (v Version) String() string { return fmt.Sprintf("OpenSSH %d.%d", v.Major, v.Minor) }

// TakesKnownHosts reports whether ssh knows the option KnownHostsCommand, which
// came with OpenSSH 8.5. One that does not ends at once.
func (v Version) TakesKnownHosts() bool {
	return v.Major > 8 || v.Major == 8 && v.Minor >= 5
}

// VersionCommand is the ssh that says which it is, on stderr: see [ParseVersion].
func VersionCommand(ssh string) *exec.Cmd { return exec.Command(ssh, "-V") }

// As in "OpenSSH_9.2p1 Debian-2" and "OpenSSH_for_Windows_8.6p1".
var versionText = regexp.MustCompile(`^OpenSSH_(?:[A-Za-z_]+_)?(\d{1,4})\.(\d{1,4})`)

// ParseVersion reads what [VersionCommand]'s command prints. It is the zero
// Version if that is not OpenSSH's.
func ParseVersion(output string) (v Version) {
	m := versionText.FindStringSubmatch(output)
	if m == nil {
		return Version{}
	}
	v.Major, _ = strconv.Atoi(m[1]) // a few digits
	v.Minor, _ = strconv.Atoi(m[2])
	return v
}
