// Package harden makes a process hard to look into, keeps secrets in memory
// that is neither swapped nor dumped, and reports what the kernel would not
// give. A library never hardens its process: main does.
package harden

import (
	"fmt"
	"runtime"
)

// A Report says what holds of this process, read back from the kernel.
type Report struct {
	Dumpable bool     `json:"dumpable"`  // can processes of the same user read its memory?
	CoreSize uint64   `json:"core_size"` // RLIMIT_CORE in bytes
	CoreMax  uint64   `json:"core_max"`  // what it could be raised to; not 0 is [HostProcess]'s
	Erases   bool     `json:"erases"`    // does Do erase what f leaves behind?
	Memory   string   `json:"memory"`    // what a key lies in, see [Shielded.Memory]
	Gaps     []string `json:"gaps"`      // what could not be had, and what it would take, a sentence each

	Confined    bool `json:"confined"`     // does all of the following hold, as far as it was asked for?
	NoNewPrivs  bool `json:"no_new_privs"` // PR_SET_NO_NEW_PRIVS, of all threads
	SystemCalls bool `json:"system_calls"` // are system calls that it never needs refused? (seccomp)
	Landlock    int  `json:"landlock"`     // the version of Landlock that restricts it, 0 if none does

	started *limits // nil: programs get the limits that hold
}

// Process hardens this process and reads back what holds. Call it before any
// secret is in memory, and again after each exec, which undoes it. It may be
// called twice.
func Process() Report { return process(false) }

// HostProcess is Process for a process that runs what its user wants, as an SSH
// server does. Programs inherit RLIMIT_CORE, and none could raise it again if it
// was lowered for good: so it is lowered in a way that they can be started
// without, see [Report.AsStarted]. That the process is not dumpable keeps its own
// memory out of core files whatever the limit is. It is called once.
func HostProcess() Report { return process(true) }

// AsStarted calls start, which starts a program or executes one in the place of
// this process, with the limits that this process had before HostProcess.
func (r Report) AsStarted(start func() error) error {
	if r.started == nil {
		return start()
	}
	return r.started.during(start)
}

func process(host bool) Report {
	r := Report{Erases: Erases(), Gaps: []string{}}
	r.Gaps = append(r.Gaps, protect(&r, host)...)
	if !r.Erases {
		r.Gaps = append(r.Gaps, eraseGap())
	}
	var gap string
	if r.Memory, gap = tryShield(); gap != "" {
		r.Gaps = append(r.Gaps, gap)
	}
	return r
}

func eraseGap() string {
	if !canErase {
		return fmt.Sprintf("memory is not erased after use: Go erases it on Linux on amd64 and arm64 only, and this is %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	return "memory is not erased after use: built without GOEXPERIMENT=runtimesecret; `make` builds with it"
}

// tryShield shields something, and uses it, to see what a key will lie in on this
// machine.
func tryShield() (memory, gap string) {
	s, err := Shield([]byte{1})
	if err != nil {
		return "none", "there is no memory for keys: " + err.Error()
	}
	defer s.Close()
	if err := s.Use(func([]byte) error { return nil }); err != nil {
		return "none", "the memory for keys is of no use: " + err.Error()
	}
	return s.Memory(), s.gap
}
