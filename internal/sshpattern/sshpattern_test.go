package sshpattern

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		s, pattern string
		want       bool
	}{
		{"", "", true}, {"a", "", false}, {"", "*", true}, {"", "?", false}, {"a", "?", true}, {"ab", "?", false},
		{"git", "git", true}, {"git", "gi", false}, {"gi", "git", false}, {"git", "g*", true}, {"git", "*t", true},
		{"git", "*i*", true}, {"git", "g*x", false}, {"aab", "*ab", true}, {"abab", "*?b", true}, {"abc", "a*b*c", true},
		{"a*c", "a*c", true}, {"abc", "**", true}, {"abc", "a?c*", true}, {"a", "a**", true}, {"mississippi", "m*issip*", true},
	} {
		if got := Match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("Match(%q, %q) = %v; want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
	// What would take a naive matcher longer than there is.
	long := strings.Repeat("a", 100_000)
	if Match(strings.Repeat("*a", 127)+"b", long) {
		t.Error("a pattern that ends in b matches a text without")
	}
}

// FuzzMatch holds the matcher against one that is plain and slow.
func FuzzMatch(f *testing.F) {
	f.Add("git", "g?*")
	f.Add("aXbXc", "a*b*c")
	f.Fuzz(func(t *testing.T, s, pattern string) {
		if len(s) > 12 || len(pattern) > 12 {
			return
		}
		if got, want := Match(pattern, s), slowMatch(s, pattern); got != want {
			t.Errorf("Match(%q, %q) = %v; want %v", pattern, s, got, want)
		}
	})
}

func slowMatch(s, pattern string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowMatch(s, pattern[1:]) || s != "" && slowMatch(s[1:], pattern)
	}
	return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && slowMatch(s[1:], pattern[1:])
}
