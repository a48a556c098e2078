//go:build cgo

package harden

// usesCgo: C libraries may be loaded later, by the resolver say, which needs
// memory that is executable.
const usesCgo = true
