//go:build !goexperiment.runtimesecret

package harden

const callsSecret = false

// Do calls f. This build cannot erase what f leaves behind (see Erases).
func Do(f func()) { f() }
