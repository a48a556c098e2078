//go:build goexperiment.runtimesecret

package harden

import "runtime/secret"

const callsSecret = true

// Do calls f and erases what f leaves on the stack and in registers before it
// returns, and what f allocates on the heap when the collector finds it dead
// (see Collect), where the build can (see Erases). It does not cover goroutines
// that f starts, nor package variables. A panic of f passes through.
func Do(f func()) { secret.Do(f) }
