package main

import (
	"bytes"
	"testing"
	"time"
)

func TestHumane(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for _, test := range []struct {
		distance time.Duration
		want     string
	}{
		{0, "just now"},
		{-59 * time.Second, "just now"},
		{-89 * time.Second, "89 seconds ago"},
		{-90 * time.Second, "2 minutes ago"},
		{-5 * time.Minute, "5 minutes ago"},
		{-100 * time.Minute, "2 hours ago"},
		{-36 * time.Hour, "2 days ago"},
		{-25 * time.Hour, "25 hours ago"},
		{-44 * 24 * time.Hour, "44 days ago"},
		{-60 * 24 * time.Hour, "2025-12-31"},
		{10 * time.Second, "in 10 seconds"},
		{24 * time.Hour, "in 24 hours"},
		{30 * 24 * time.Hour, "in 30 days"},
		{100 * 24 * time.Hour, "2026-06-09"},
	} {
		if got := humane(now.Add(test.distance), now); got != test.want {
			t.Errorf("humane(now%+v) = %q; want %q", test.distance, got, test.want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		typed string
		want  time.Duration // -1: an error
	}{
		{"24h", day}, {"30d", 30 * day}, {"90m", 90 * time.Minute}, {"0", 0}, {"0d", 0}, {"1h30m", 90 * time.Minute},
		{"", -1}, {"d", -1}, {"-1h", -1}, {"-1d", -1}, {"1.5d", -1}, {"1500ms", -1}, {"36501d", -1}, {"99999999999999999999d", -1},
		{"9223372036854775807d", -1}, {"30", -1}, {"1e3d", -1}, {"30 d", -1},
	} {
		got, err := parseDuration(test.typed)
		if err != nil {
			got = -1
		}
		if got != test.want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", test.typed, got, err, test.want)
		}
	}
	if got, err := parsePreciseDuration("1500ms"); got != 1500*time.Millisecond || err != nil {
		t.Errorf("parsePreciseDuration(1500ms) = %v, %v; want that", got, err)
	}
}

func FuzzParseDuration(f *testing.F) {
	f.Add("24h")
	f.Add("-0d")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseDuration(s); err == nil && (d < 0 || d > maxDuration || d%time.Second != 0) {
			t.Errorf("parseDuration(%q) = %v, which no server takes", s, d)
		}
	})
}

// What the server says of a key or a token lands in a cell, and stays there.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	p := &program{stdout: &out}
	if err := p.table("NAME\tSTATE", [][]string{{"a\tb\nc", "fine"}, {"x\x1b[31m", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME   STATE\na b c  fine\nx\ufffd[31m\n"
	if out.String() != want {
		t.Errorf("the table is\n%q\nwant\n%q", out.String(), want)
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{
		"/run/box.token":        "/run/box.token",
		"https://keys.ex:7843/": "https://keys.ex:7843/",
		"my token":              "'my token'",
		"it's":                  `'it'\''s'`,
		"~/x":                   "'~/x'",
		"a;b":                   "'a;b'",
		"":                      "''",
	} {
		if got := quoted(path); got != want {
			t.Errorf("quoted(%q) = %s; want %s", path, got, want)
		}
	}
}
