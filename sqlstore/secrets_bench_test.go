package sqlstore_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
)

// BenchmarkCurrentValues is what the delivery to one workspace asks of the
// store, for as many secrets as a user may have by default: small ones, and
// such that take all the room.
func BenchmarkCurrentValues(b *testing.B) {
	const count = 200
	for _, size := range []int{100, 4 << 20 / count} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "latchkey.db"))
			if err := createUser(b.Context(), s, "alice"); err != nil {
				b.Fatal(err)
			}
			change := keyserver.SecretChange{Keep: 10}
			for i := range count {
				id := keyserver.SecretID(fmt.Sprintf("%036d", i))
				change.Put = append(change.Put, keyserver.Secret{ID: id, Name: fmt.Sprint(i), EnvName: fmt.Sprint("ENV_", i), Version: 1})
				change.Values = append(change.Values, keyserver.SecretValue{Secret: id, Version: 1, Sealed: make([]byte, size)})
			}
			if err := s.ChangeSecrets(b.Context(), "id of alice", 1, change, keyserver.Event{}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				_, values, _, err := s.CurrentValues(b.Context(), "id of alice")
				if err != nil || len(values) != count {
					b.Fatal(len(values), err)
				}
			}
		})
	}
}
