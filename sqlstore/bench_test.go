package sqlstore_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sqlstore"
)

// fill makes a store of users in a file, each with a key as large as a sealed
// ed25519 key, a workspace and its token. It has SQL of its own: to make a
// million of them one by one takes an hour.
func fill(b *testing.B, path string, users int) {
	b.Helper()
	if err := open(b, path).Close(); err != nil { // it has made the tables
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", path+"?_pragma=synchronous(OFF)&_pragma=cache_size(-500000)&_pragma=wal_autocheckpoint(100000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	for _, table := range []struct{ insert, values string }{
		{"users (id, name, role, disabled, data_key, version)", "$1, $2, x'75736572', 0, zeroblob(160), 1"},
		{"keys (user_id, name, generation, algorithm, public_key, fingerprint, sealed, imported, last_fetched_by)",
			"$1, x'64656661756c74', 1, x'65643235353139', zeroblob(51), $3, zeroblob(160), 0, x''"},
		{"workspaces (id, user_id, name)", "$4, $1, x'646576'"},
		{"tokens (hash, id, kind, user_id, workspace_id, description)", "$5, $4, x'776f726b7370616365', $1, $4, x''"},
	} {
		stmt, err := tx.Prepare("INSERT INTO " + table.insert + " VALUES (" + table.values + ")")
		if err != nil {
			b.Fatal(err)
		}
		for i := range users {
			hash := tokenHash(i)
			if _, err := stmt.Exec([]byte(userID(i)), fmt.Append(nil, i), fmt.Appendf(nil, "SHA256:%043d", i), []byte(workspaceID(i)), hash[:]); err != nil {
				b.Fatal(err)
			}
		}
		if err := stmt.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}

// Identifiers are spread as those of real users are: the table's pages are
// met in no order.
func userID(i int) keyserver.UserID {
	h := api.HashToken(fmt.Sprint("user", i))
	return keyserver.UserID(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}

func workspaceID(i int) keyserver.WorkspaceID { return keyserver.WorkspaceID("w" + userID(i)[1:]) }
func tokenHash(i int) [32]byte                { return api.HashToken(fmt.Sprint("workspace", i)) }

func fetchEvent(action string) keyserver.Event {
	return keyserver.Event{At: time.Now(), Actor: "workspace:dev", ActorID: "0bd4f4c5-3d6d-4d3e-9a39-6c1d2a0d7d1a", Action: action,
		Target: "default/1", TargetID: "0bd4f4c5-3d6d-4d3e-9a39-6c1d2a0d7d1b", Remote: "192.0.2.17:40312", Result: keyserver.OK}
}

// fetch is what the server asks of the store for one fetch of a private key.
func fetch(b *testing.B, s *sqlstore.Store, i int) {
	t, err := s.TokenByHash(b.Context(), tokenHash(i))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.User(b.Context(), t.UserID); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Workspace(b.Context(), t.WorkspaceID); err != nil {
		b.Fatal(err)
	}
	keys, err := s.Keys(b.Context(), t.UserID)
	if err != nil || len(keys) != 1 {
		b.Fatal(len(keys), err)
	}
	record(b, s, i)
}

func record(b *testing.B, s *sqlstore.Store, i int) {
	if err := s.RecordFetch(b.Context(), userID(i), api.DefaultKey, 1, workspaceID(i), fetchEvent("key.fetch")); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRecordFetch is the durable part of a fetch alone, BenchmarkFetch all
// that a fetch asks of the store; each from 1 and from 16 goroutines at once.
func BenchmarkRecordFetch(b *testing.B) { benchmark(b, 1000, record) }
func BenchmarkFetch(b *testing.B)       { benchmark(b, 1000, fetch) }

// BenchmarkFetchOfMillion shows what a million users cost.
func BenchmarkFetchOfMillion(b *testing.B) {
	if os.Getenv("LATCHKEY_BENCH_MILLION") == "" {
		b.Skip("to fill a store with a million users takes minutes: set LATCHKEY_BENCH_MILLION=1")
	}
	benchmark(b, 1_000_000, fetch)
}

func benchmark(b *testing.B, users int, op func(*testing.B, *sqlstore.Store, int)) {
	path := filepath.Join(b.TempDir(), "latchkey.db")
	fill(b, path, users)
	s := open(b, path)
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			took := make([]time.Duration, b.N)
			next := make(chan int, b.N)
			for i := range b.N {
				next <- i
			}
			close(next)
			b.ResetTimer()
			before := processorTime(b)
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					for i := range next {
						start := time.Now()
						op(b, s, i*797_003%users)
						took[i] = time.Since(start)
					}
				})
			}
			all.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
			b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
		})
	}
}

// processorTime is what the process has used, user and system: it says more
// than the clock on a machine that others use.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
