package main

import (
	"fmt"
	"os"
)

// monitorArgument makes this program the monitor: what stands behind it is the
// path of a program, its name, and its arguments.
//
// A program that masking gives a terminal of its own can't be the leader of the
// session there: ^Z does not stop a process that no other of its session would
// continue (POSIX.1, orphaned process groups). So a monitor leads the session,
// and supervises the program there. When that stops, so does the monitor, and
// with it latchkey on the user's terminal; when that goes on, so do they.
const monitorArgument = "run-on-terminal"

// behindMonitor has the supervisor's child be a monitor that runs the program.
func (s *supervisor) behindMonitor() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("masking what the program prints: %w", err)
	}
	s.words = append([]string{"latchkey", monitorArgument, s.path}, s.words...)
	s.path = self
	return nil
}

// runOnTerminal is the monitor. Its stdout is the terminal.
func (p *program) runOnTerminal(args []string) int {
	if len(args) < 2 {
		return p.fail(usagef("%s is run by latchkey run --mask", monitorArgument))
	}
	shield()
	s := &supervisor{path: args[0], words: args[1:], tty: 1, monitor: true, env: os.Environ(), warn: p.warn}
	status, err := s.run()
	if err != nil {
		return p.fail(notRun(s.words[0], err, s.env, nil))
	}
	return exitAs(status)
}
