// Package witness watches programs and looks for a private key in what they
// leave: in the system calls they make ([Trace]), in every file that changes on
// the machine while it changes ([Watch]), and in the files that are there
// afterwards ([Search]).
//
// The three overlap on purpose. A trace sees what never becomes a file, but not
// what a program stores through shared memory; a watch sees files that are gone
// a moment later, but not the memory behind a descriptor (memfd); a search sees
// what is left, however it came there.
package witness

import (
	"fmt"
	"slices"
	"sync"
)

// A Finding is something that a witness saw.
type Finding struct {
	Witness string // "trace", "watch" or "search"
	Where   string // the system call or the file
	What    string // a form of the key, or why nothing may be looked for there
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Witness, f.Where, f.What) }

// findings collects what one witness saw, each thing once. It is safe for
// concurrent use.
type findings struct {
	witness string

	mu   sync.Mutex
	list []Finding
}

func (f *findings) add(where string, whats ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, what := range whats {
		if next := (Finding{f.witness, where, what}); !slices.Contains(f.list, next) {
			f.list = append(f.list, next)
		}
	}
}

func (f *findings) all() []Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}
