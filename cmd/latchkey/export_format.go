package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/workspace"
)

// perLine writes a line for each variable.
func perLine(vars []workspace.Variable, why func(workspace.Variable) string, line func(name, value string) string) (string, []error) {
	var text strings.Builder
	var errs []error
	for _, v := range vars {
		if problem := why(v); problem != "" {
			errs = append(errs, cannotHold(v, problem))
			continue
		}
		text.WriteString(line(v.Name, string(v.Value)) + "\n")
	}
	return text.String(), errs
}

const notUTF8 = "it is not valid UTF-8"

// writeDotenv writes what our own import reads as the same value, and docker
// compose, the dotenv libraries and shells as far as they agree: all take what is
// in single quotes as it is, several lines included. In double quotes they know
// \\, \" and \$. A shell would also act on a backquote there, for which the others
// have no escape: that is refused. (It does not know \r.)
func writeDotenv(vars []workspace.Variable) (string, []error) {
	return perLine(vars, func(v workspace.Variable) string {
		if !utf8.Valid(v.Value) {
			return "a dotenv file is text, and " + notUTF8
		}
		if needsDouble(string(v.Value)) && bytes.IndexByte(v.Value, '`') >= 0 {
			return "it needs double quotes in a dotenv file, and a shell that reads the file would run what is in backquotes"
		}
		return ""
	}, func(name, value string) string { return name + "=" + dotenvQuote(value) })
}

// needsDouble reports whether not all would read a value in single quotes as it
// is: some unescape \\ and \' there, and make LF of CRLF.
func needsDouble(value string) bool {
	return strings.ContainsAny(value, "'\r") || strings.Contains(value, `\\`) || strings.HasSuffix(value, `\`)
}

func dotenvQuote(value string) string {
	if !needsDouble(value) {
		return "'" + value + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\r", `\r`).Replace(value) + `"`
}

// writeJSONObject is also what "devcontainer up --secrets-file" takes.
func writeJSONObject(vars []workspace.Variable) (string, []error) {
	var errs []error
	object := make(map[string]string, len(vars))
	for _, v := range vars {
		if !utf8.Valid(v.Value) {
			errs = append(errs, cannotHold(v, "JSON is text, and "+notUTF8))
		}
		object[v.Name] = string(v.Value)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(object); err != nil {
		errs = append(errs, err)
	}
	return b.String(), errs
}

// writeDockerEnvFile is raw: docker takes all behind the "=" of a line
// (docker/cli, opts/env_file), which must be UTF-8. It reads lines with Go's
// bufio.Scanner, as that is unless told otherwise.
func writeDockerEnvFile(vars []workspace.Variable) (string, []error) {
	return perLine(vars, func(v workspace.Variable) string {
		switch {
		case bytes.ContainsAny(v.Value, "\n\r"):
			return "a docker env file has a line for each variable, and it has several"
		case len(v.Name)+len(v.Value)+len("=\n") > bufio.MaxScanTokenSize:
			return fmt.Sprintf("docker reads lines of %d bytes at most", bufio.MaxScanTokenSize)
		case !utf8.Valid(v.Value):
			return "a docker env file is text, and " + notUTF8
		}
		return ""
	}, func(name, value string) string { return name + "=" + value })
}

// writeSystemd quotes as systemd.exec(5) has it for EnvironmentFile=: within
// double quotes a backslash makes the next " \ ` $ ordinary, and ends of lines
// are kept. systemd drops what is not UTF-8; other control characters it did not
// always take.
func writeSystemd(vars []workspace.Variable) (string, []error) {
	return perLine(vars, func(v workspace.Variable) string {
		switch {
		case !utf8.Valid(v.Value):
			return "an EnvironmentFile= is text, and " + notUTF8
		case bytes.ContainsFunc(v.Value, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }):
			return "an EnvironmentFile= has no control characters, and it does"
		}
		return ""
	}, func(name, value string) string {
		return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
	})
}
