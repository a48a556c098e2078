package harden

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// canErase is whether Go can erase on this platform: see runtime/secret.
const canErase = runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64")

// Erases reports whether this build erases what Do's f leaves behind: one built
// with GOEXPERIMENT=runtimesecret does, on Linux on amd64 and arm64.
//
// The experiment's build tag alone does not make it so: `go build -tags
// goexperiment.runtimesecret` gives a program that calls runtime/secret and
// still leaves secrets in registers and spill slots. The toolchain's version
// names the experiments that it was really run with.
func Erases() bool {
	return canErase && callsSecret && hasExperiment(runtime.Version(), "runtimesecret")
}

// hasExperiment looks into a version such as "go1.26.8-X:jsonv2,runtimesecret".
func hasExperiment(version, name string) bool {
	_, list, _ := strings.Cut(version, "X:")
	list, _, _ = strings.Cut(list, " ")
	return slices.Contains(strings.Split(list, ","), name)
}

// collections is how often Collect collects. crypto/ed25519 and crypto/ecdsa
// keep an expanded private key in a cache that lets go of it when the key is
// found dead (first), by a cleanup; the expanded key is found dead next
// (second). FreeOSMemory collects once more, for what a concurrent collection,
// begun before, had already marked.
const collections = 2

// Collect makes the garbage collector erase now what Do's calls have allocated
// and dropped, and gives back the memory that is not needed at rest. It costs a few
// milliseconds in a small program.
func Collect() {
	for range collections {
		// A collection only queues the cleanups of what it found dead. This
		// object's is queued with them, so when it has run, so have they, bar
		// what another goroutine is just running.
		done := make(chan struct{})
		runtime.AddCleanup(new(*int), func(done chan struct{}) { close(done) }, done)
		runtime.GC()
		select {
		case <-done:
		case <-time.After(time.Second): // the object is still on this stack: nothing is lost but the wait
		}
	}
	// A build that does not erase leaves less behind if the pages go; one that
	// does is smaller.
	debug.FreeOSMemory()
	freeProgram()
}
