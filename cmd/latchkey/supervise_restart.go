package main

import (
	"syscall"
	"time"
)

// endGrace is how long a program that is to be started again has to end.
const endGrace = 10 * time.Second

// changed has another environment take effect: by a signal, or, if that is 0, by
// ending the program and starting it again.
func (s *supervisor) changed(env []string, by syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.env = env
	switch {
	case s.pid == 0 || s.again:
	case by != 0:
		syscall.Kill(s.pid, by)
	default:
		s.again = true
		s.signalAll(syscall.SIGTERM)
		s.signalAll(syscall.SIGCONT) // a stopped one ends when it goes on
		pid := s.pid
		s.kill = time.AfterFunc(s.grace, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.pid == pid {
				s.signalAll(syscall.SIGKILL)
			}
		})
	}
}

// ended reports whether the program, which has ended, is to be started again.
func (s *supervisor) ended() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again, s.again = s.again, false
	return again
}
