//go:build !linux

package harden

func freeProgram() {}
