package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
)

// maxSecretValue is the largest value that a server takes unless it is
// configured otherwise.
const maxSecretValue = 1 << 20

// secretValue is the value that --value or stdin gives, byte for byte; ok is
// false if neither does. A terminal is asked if ask says so.
func (p *program) secretValue(c *cli.Context, name string, ask bool) (value []byte, ok bool, err error) {
	terminal := isTerminal(p.stdin)
	switch {
	case c.IsSet("value"):
		if !terminal && p.somethingOnStdin() {
			return nil, false, withHint(usagef("--value and stdin both give a value"), "leave out --value; or to use it: < /dev/null")
		}
		value, ok = []byte(c.String("value")), true
		if len(value) > 0 {
			p.warn(withHint(errors.New("others on this machine can read a command line, and shells keep it in a file"),
				fmt.Sprintf(`next time: printf %%s "$VALUE" | latchkey secret %s %s`, c.Command.Name, quoted(name))))
		}
	case terminal && !ask:
		return nil, false, nil
	case terminal:
		value, err = p.askValue(c.Command.Name, name)
		return value, err == nil, err
	default:
		if value, err = p.readValue(); err != nil {
			return nil, false, err
		}
		ok = len(value) > 0
	}
	if endsLine(value) {
		p.warn(withHint(errors.New("the value ends in a newline, which is stored with it"),
			fmt.Sprintf(`to store it without: printf %%s "$VALUE" | latchkey secret update %s`, quoted(name))))
	}
	return value, ok, nil
}

// askValue asks a terminal, which has one line at most.
func (p *program) askValue(command, name string) ([]byte, error) {
	answer, more, err := p.askHiddenLine("value of the secret " + name + ", one line, not shown")
	byFile := fmt.Sprintf("give it on stdin: latchkey secret %s %s < FILE", command, quoted(name))
	switch {
	case err != nil:
		return nil, err
	case more:
		return nil, withHint(errors.New("what was typed has several lines, and a terminal is asked for one"), byFile)
	case len(answer) >= maxTyped:
		return nil, withHint(fmt.Errorf("what was typed is too long: a terminal cuts it at %d bytes", maxTyped), byFile)
	case answer == "":
		return nil, withHint(errors.New("no value was given"), `for an empty value: --value ""`)
	}
	return []byte(answer), nil
}

// endsLine reports whether a value is one line and ends in a newline: rarely is
// that meant, and few programs take it.
func endsLine(value []byte) bool {
	line := bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
	return len(line) < len(value) && !bytes.ContainsAny(line, "\r\n")
}

// readValue reads all of stdin. It says what it waits for if that takes long:
// a stdin that somebody else holds open never ends.
func (p *program) readValue() ([]byte, error) {
	waiting, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-waiting:
		case <-time.After(3 * time.Second):
			p.note("reading the value from stdin, which has not ended yet; to give none: < /dev/null")
		}
	}()
	value, err := readBounded(p.stdin, "the value on stdin", maxSecretValue)
	close(waiting)
	<-told
	return value, err
}

// pipeTime is how long something that is piped into a command with --value may
// take to come. It comes or ends at once where the shell has made the pipe, and
// may never do so where another program has.
const pipeTime = 200 // milliseconds

// somethingOnStdin reports whether stdin has a byte at least, which it takes.
func (p *program) somethingOnStdin() bool {
	if f, ok := p.stdin.(*os.File); ok {
		info, err := f.Stat()
		if err != nil || info.Mode()&os.ModeCharDevice != 0 {
			return false
		}
		if !info.Mode().IsRegular() && !hasInput(int(f.Fd()), pipeTime) {
			return false
		}
	}
	n, _ := io.ReadFull(p.stdin, make([]byte, 1))
	return n > 0
}
