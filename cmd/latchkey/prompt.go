package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// maxAnswer bounds what is read of an answer, a passphrase or a token.
const maxAnswer = 4 << 10

// confirm asks whether to do what the text says will happen; no is the default.
// Without a terminal there is nobody to ask: it takes yes, which is the flag.
func (p *program) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return withHint(usagef("%s: that must be confirmed, and stdin is not a terminal", what), "to do it, add --yes")
	}
	fmt.Fprintf(p.stderr, "%s.\nGo on? [y/N] ", presentable(what))
	answer, err := readLine(p.stdin)
	if err != nil {
		fmt.Fprintln(p.stderr)
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was changed")
}

// readLine reads up to a newline, byte by byte: what stands behind it belongs
// to the next question.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxAnswer {
		n, err := r.Read(b[:])
		switch {
		case n == 1 && b[0] == '\n':
			return string(line), nil
		case n == 1:
			line = append(line, b[0])
		case err == io.EOF && len(line) > 0:
			return string(line), nil
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("over %d bytes on one line", maxAnswer)
}

// errNoTerminal is what askHidden gives where nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to ask on")

// askHidden asks for a secret without showing what is typed. It asks on the
// controlling terminal if stdin is something else.
func (p *program) askHidden(question string) (string, error) {
	tty, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return "", errNoTerminal
		}
		defer f.Close()
		tty = f
	}
	fmt.Fprintf(p.stderr, "%s: ", question)
	answer, err := readHidden(tty)
	fmt.Fprintln(p.stderr) // the newline that was typed is not shown either
	if err != nil {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	return answer, nil
}

// readHidden is term.ReadPassword, but a signal that ends the program does not
// leave a terminal behind that shows nothing.
func readHidden(tty *os.File) (string, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	done := make(chan struct{})
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer close(done)
	watcher.Go(func() {
		select {
		case s := <-signals:
			term.Restore(fd, before) // nothing to be done if it fails: we are ending
			fmt.Fprintln(tty)
			signal.Reset(s)
			syscall.Kill(syscall.Getpid(), s.(syscall.Signal))
		case <-done:
		}
	})
	answer, err := term.ReadPassword(fd)
	switch {
	case errors.Is(err, io.EOF):
		return "", io.ErrUnexpectedEOF
	case len(answer) > maxAnswer:
		return "", fmt.Errorf("over %d bytes", maxAnswer)
	}
	return string(answer), err
}
