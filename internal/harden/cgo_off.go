//go:build !cgo

package harden

const usesCgo = false
