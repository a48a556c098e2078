// Package sshpattern matches the patterns of OpenSSH: those of users in a key's
// destinations, and of hosts in known_hosts.
package sshpattern

// Match reports whether all of s matches a pattern in which * stands for
// any characters, and ? for one (ssh_config(5), PATTERNS). It takes at most
// len(s) * len(pattern) steps.
func Match(pattern, s string) bool {
	star, again := -1, 0 // where the last * was, and where in s to try next
	i, p := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, again = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			i++
			p++
		case star >= 0:
			again++
			i, p = again, star+1
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
