package gitssh

import "testing"

func TestVersion(t *testing.T) {
	for output, want := range map[string]struct {
		version    Version
		knownHosts bool
	}{
		"OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n": {Version{9, 2}, true},
		"OpenSSH_8.5p1":                           {Version{8, 5}, true},
		"OpenSSH_8.4p1 Debian-5+deb11u3":          {Version{8, 4}, false},
		"OpenSSH_10.0p2":                          {Version{10, 0}, true},
		"OpenSSH_7.9p1":                           {Version{7, 9}, false},
		"OpenSSH_for_Windows_8.6p1, LibreSSL 3.4": {Version{8, 6}, true},
		"Sun_SSH_2.2":                             {},
		"":                                        {},
		"OpenSSH_99999999999999999999.1":          {},
		"my ssh\nOpenSSH_9.2p1":                   {},
	} {
		got := ParseVersion(output)
		if got != want.version || got.TakesKnownHosts() != want.knownHosts {
			t.Errorf("ParseVersion(%q) = %v, which takes known hosts: %t; want %v, %t", output, got, got.TakesKnownHosts(), want.version, want.knownHosts)
		}
	}
}
