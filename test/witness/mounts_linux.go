package witness

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// unreal are the kinds of file system that programs cannot store bytes in.
var unreal = []string{
	"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs",
	"fusectl", "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "sysfs", "tracefs",
}

// A mount is where a file system is mounted.
type mount struct {
	point  string
	device string // "8:1"
	kind   string // "ext4"
}

// mounts lists the places where file systems that can be written to are mounted.
// One file system may have several, which show different parts of it. The form
// is that of proc_pid_mountinfo(5).
func mounts() ([]mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []mount
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(line, " - ")
		fields, last := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(last) < 3 {
			return nil, fmt.Errorf("/proc/self/mountinfo has the line %q", line)
		}
		m := mount{point: unescape(fields[4]), device: fields[2], kind: last[0]}
		readOnly := slices.Contains(strings.Split(last[2], ","), "ro")
		if !readOnly && !slices.Contains(unreal, m.kind) {
			out = append(out, m)
		}
	}
	return out, nil
}

// unescape takes back what mountinfo does to spaces and the like: \040.
func unescape(s string) string {
	for i := strings.IndexByte(s, '\\'); i >= 0 && i+4 <= len(s); {
		n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
		if err != nil {
			return s
		}
		s = s[:i] + string([]byte{byte(n)}) + s[i+4:]
		next := strings.IndexByte(s[i+1:], '\\')
		if next < 0 {
			return s
		}
		i += 1 + next
	}
	return s
}
