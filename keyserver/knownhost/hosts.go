package knownhost

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// hashLength is that of the salt and of the HMAC-SHA1 of a hashed name.
const hashLength = 20

// checkHosts checks the first field of a line, and gives it in lower case, in
// which ssh compares.
func checkHosts(hosts, marker string) (string, error) {
	if len(hosts) > maxHosts {
		return "", fmt.Errorf("the hosts have %d bytes; at most %d are allowed", len(hosts), maxHosts)
	}
	if strings.HasPrefix(hosts, "|") {
		return hosts, checkHashed(hosts)
	}
	hosts = strings.ToLower(hosts)
	positive := false
	for _, pattern := range strings.Split(hosts, ",") {
		bare := strings.TrimPrefix(pattern, "!")
		if err := checkPattern(bare); err != nil {
			return "", err
		}
		if bare != pattern {
			continue
		}
		positive = true
		if marker == "" && isAny(bare) {
			return "", fmt.Errorf("the pattern %s makes one key that of every host; only %s and %s may have it", shown(bare), CertAuthority, Revoked)
		}
	}
	if !positive {
		return "", fmt.Errorf("%s only says which hosts are not meant; a pattern that matches, such as *, is missing", shown(hosts))
	}
	return hosts, nil
}

// isAny reports whether a pattern names nobody: it matches every host, or those of
// any name of a length.
func isAny(pattern string) bool {
	return !strings.ContainsFunc(pattern, func(r rune) bool { return strings.ContainsRune(nameLetters, r) })
}

// checkHashed checks "|1|SALT|HASH".
func checkHashed(hosts string) error {
	parts := strings.Split(hosts, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return fmt.Errorf("the hashed host is not of the form |1|SALT|HASH")
	}
	for _, p := range parts[2:] {
		if b, err := base64.StdEncoding.Strict().DecodeString(p); err != nil || len(b) != hashLength {
			return fmt.Errorf("the hashed host is not whole: salt and hash have %d bytes each, in base64", hashLength)
		}
	}
	return nil
}

const (
	nameLetters    = "abcdefghijklmnopqrstuvwxyz0123456789"
	patternLetters = nameLetters + ".-_*?:%"
)

// checkPattern checks "HOST" and "[HOST]:PORT", in lower case. HOST may hold *
// and ?.
func checkPattern(pattern string) error {
	if pattern == "" {
		return fmt.Errorf("a host is empty")
	}
	host, bracketed := strings.CutPrefix(pattern, "[")
	port := ""
	if bracketed {
		var closed bool
		if host, port, closed = strings.Cut(host, "]"); !closed || host == "" || !strings.HasPrefix(port, ":") {
			return fmt.Errorf("the host %s is not of the form [HOST]:PORT", shown(pattern))
		}
		if err := checkPort(host, port[1:]); err != nil {
			return err
		}
	}
	if i := strings.IndexFunc(host, func(r rune) bool { return !strings.ContainsRune(patternLetters, r) }); i >= 0 {
		return fmt.Errorf("the host %s holds a character that no host name has", shown(pattern))
	}
	if strings.Contains(host, ":") && !strings.ContainsAny(host, "*?") {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("the host %s would never match: a port is written [HOST]:PORT, without it or brackets if it is 22", shown(pattern))
		}
	}
	return nil
}

func checkPort(host, port string) error {
	if strings.ContainsAny(port, "*?") && strings.Trim(port, "*?0123456789") == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0 || strconv.FormatUint(n, 10) != port:
		return fmt.Errorf("the port %s of %s is not a number from 1 to 65535", shown(port), shown(host))
	case n == 22:
		return fmt.Errorf("the host [%s]:22 would never match: ssh looks for port 22 without brackets, as %[1]s", shown(host))
	}
	return nil
}

// MayMatch reports whether the hosts of a line could match a name that ssh looks
// for. It is certain only when it says no: what there is to match is ssh's to
// decide.
func MayMatch(hosts, name string) bool {
	if strings.ContainsAny(hosts, "|*?!") {
		return true
	}
	name = strings.ToLower(name)
	for pattern := range strings.SplitSeq(hosts, ",") {
		if strings.ToLower(pattern) == name {
			return true
		}
	}
	return false
}
