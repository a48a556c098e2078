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

	"golang.org/x/sys/unix"
)

// maxAnswer bounds what is read of an answer, a passphrase or a token.
const maxAnswer = 4 << 10

// confirm asks whether to do what the text says will happen; no is the default.
// Every command that takes something away for good, or from others, calls it, behind
// all that could fail before: nobody should agree to what can't be. Without a terminal
// there is nobody to ask, and yes, which is the flag, is the only way: a script
// that lacks it must not look as if it had done anything.
func (p *program) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return withHint(usagef("nothing was changed: there is no terminal to ask on, and no -y"), "with -y, "+what)
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
	answer, _, err := p.askHiddenLine(question)
	return answer, err
}

// askHiddenLine is askHidden for what may have several lines: more says that
// what was pasted had. It takes the first one, and the others are dropped.
func (p *program) askHiddenLine(question string) (answer string, more bool, err error) {
	tty, ok := p.stdin.(*os.File)
	if !ok || !isTerminal(tty) {
		f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return "", false, errNoTerminal
		}
		defer f.Close()
		tty = f
	}
	// In this order: what is typed as soon as the question is seen is not shown.
	show, err := hideTyping(int(tty.Fd()))
	if err != nil {
		return "", false, fmt.Errorf("hiding what is typed: %w", err)
	}
	defer show()
	fmt.Fprintf(p.stderr, "%s: ", presentable(question))
	answer, err = readLine(tty)
	fmt.Fprintln(p.stderr) // the newline that was typed is not shown either
	if err != nil {
		return "", false, fmt.Errorf("reading the answer: %w", err)
	}
	return answer, hasInput(int(tty.Fd()), pasteTime), nil
}

// pasteTime is how long the next line of what was pasted may take to come.
const pasteTime = 100 // milliseconds

// hasInput reports whether there is something to read within a time.
func hasInput(fd, milliseconds int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, milliseconds)
	for errors.Is(err, unix.EINTR) { // Go's own signals do that
		n, err = unix.Poll(fds, milliseconds)
	}
	return n == 1 && err == nil && fds[0].Revents&unix.POLLIN != 0
}

// hideTyping has a terminal show nothing of what is typed, and drops what was
// typed before, until show is called. A signal that ends the program calls it
// too: nobody wants a shell that shows nothing. (term.ReadPassword does neither,
// and hides only after the question.)
func hideTyping(fd int) (show func(), err error) {
	before, err := unix.IoctlGetTermios(fd, readTermios)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, writeTermios, &hidden); err != nil {
		return nil, err
	}
	restore := func() { unix.IoctlSetTermios(fd, writeTermios, before) } // else there is nothing to be done
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case s := <-signals:
			restore()
			signal.Reset(s)
			syscall.Kill(syscall.Getpid(), s.(syscall.Signal))
		case <-done:
		}
	})
	return func() {
		restore()
		signal.Stop(signals)
		close(done)
		watcher.Wait()
	}, nil
}
