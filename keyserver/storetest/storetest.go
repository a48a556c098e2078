// Package storetest checks that a store keeps the contract of
// [keyserver.Store]. One suite serves all stores, so that what holds for the
// one that tests use holds for the one that keeps the keys.
package storetest

import (
	"testing"

	"github.com/latchkey/latchkey/keyserver"
)

// Run checks every promise that a store can keep within one process. Each call
// of open gives a new, empty store, which Run closes.
func Run(t *testing.T, open func(t *testing.T) keyserver.Store) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"users", userTests},
		{"keys", keyTests},
		{"settings of keys", keySettingTests},
		{"workspaces", workspaceTests},
		{"tokens", tokenTests},
		{"secrets", secretTests},
		{"values of secrets", secretValueTests},
		{"revisions", revisionTests},
		{"deliveries", deliveryTests},
		{"known hosts", knownHostTests},
		{"ssh", sshTests},
		{"audit", auditTests},
		{"settings", settingTests},
		{"values", valueTests},
		{"contexts", contextTests},
		{"races", raceTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					test.run(newKit(t, open(t)))
				})
			}
		})
	}
}

// RunDurable checks what Run does and, in addition, what a store promises that
// outlives its process and is shared by several. Each call of open with the
// same place opens the same store; the place is an empty directory of its own.
func RunDurable(t *testing.T, open func(t *testing.T, place string) keyserver.Store) {
	Run(t, func(t *testing.T) keyserver.Store { return open(t, t.TempDir()) })
	t.Run("durable", func(t *testing.T) {
		for _, test := range durableTests {
			t.Run(test.name, func(t *testing.T) {
				place := t.TempDir()
				test.run(func() *kit { return newKit(t, open(t, place)) })
			})
		}
	})
}

// A test is one promise.
type test struct {
	name string
	run  func(*kit)
}
