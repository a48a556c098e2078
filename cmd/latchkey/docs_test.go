package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A documented command stands in a block of code, perhaps behind a prompt or
// what it is given on stdin, and perhaps with a comment behind it.
var documented = regexp.MustCompile(`^(?:[\w-]*\$ )?(?:.*\| *|eval "\$\()?latchkey (.*)$`)

// TestDocumentedCommands takes the commands of the documents as far as their
// flags and the number of their arguments.
func TestDocumentedCommands(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../../README.md", "../../SECURITY.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range documentedCommands(string(text)) {
			found++
			p := &program{strings.NewReader(""), os.Stdout, os.Stderr}
			if _, err := parseLine(p.commands(), splitWords(command)); err != nil {
				t.Errorf("%s: latchkey %s: %v", filepath.Base(file), command, err)
			}
		}
	}
	if found < 8 {
		t.Errorf("found %d commands in the documents; want at least the README's 8", found)
	}
}

// documentedCommands lists what stands behind "latchkey" in blocks of code, and
// in code within a line where a flag shows that it is meant to be typed.
func documentedCommands(text string) (commands []string) {
	block := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			block = !block
			continue
		}
		if block {
			commands = append(commands, command(line)...)
			continue
		}
		for i, code := range strings.Split(line, "`") {
			if i%2 == 1 && strings.Contains(code, " -") {
				commands = append(commands, command(code)...)
			}
		}
	}
	return commands
}

func command(line string) []string {
	line, _, _ = strings.Cut(line, " #")
	m := documented.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	words, _, _ := strings.Cut(m[1], ")") // of eval "$(latchkey env)"
	for _, end := range []string{" |", " >", " <", " &", " 2>"} {
		words, _, _ = strings.Cut(words, end)
	}
	return []string{words}
}

// splitWords splits a line as a shell does, as far as quotes go.
func splitWords(line string) (words []string) {
	var word strings.Builder
	var quote rune
	started := false
	for _, r := range line + " " {
		switch {
		case quote == 0 && (r == '"' || r == '\''):
			quote, started = r, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && r == ' ':
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(r)
			started = true
		}
	}
	return words
}
