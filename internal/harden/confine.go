package harden

// A Confinement says what a process keeps when it gives up, until it ends, what
// it never needs: so that whoever takes it over has less.
//
// All of it is inherited by the programs that the process starts, and no program
// can take it off: a shell could not run sudo, nor a debugger. So a process that
// runs what its user wants, as an SSH server does, must not be confined. What is
// not, and says so, does it with [Unconfined].
type Confinement struct {
	Programs bool // it starts programs of its own, which can do with what it keeps itself
	Dials    bool // it makes TCP connections

	// The files and directories in and below which it writes, nil if that may be
	// anywhere; and those in which it reads, if it does not write anywhere.
	Writes, Reads []string
}

// Confine confines this process for good, and adds to its report what holds, as
// the kernel tells it or as it shows when what must fail is tried. Call it when
// everything is open that could not be opened after it.
func Confine(r Report, c Confinement) Report {
	r.Confined = true
	gaps := confine(&r, c)
	if len(gaps) > 0 {
		r.Confined = false
	}
	r.Gaps = append(r.Gaps, gaps...)
	return r
}

// Unconfined adds to a report that the process is not confined, and why.
func Unconfined(r Report, why string) Report {
	r.Gaps = append(r.Gaps, "not confined: "+why)
	return r
}
