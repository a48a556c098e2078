package sqlstore_test

import (
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

// fill makes users named 0, 1, 2, …, each with a key as large as a sealed
// ed25519 key, a workspace and two tokens.
func fill(b *testing.B, s *sqlstore.Store, users int) {
	b.Helper()
	var all sync.WaitGroup
	next := make(chan int)
	for range 64 {
		all.Go(func() {
			for i := range next {
				if err := addUser(b, s, i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range users {
		next <- i
	}
	close(next)
	all.Wait()
}

func addUser(b *testing.B, s *sqlstore.Store, i int) error {
	name, at := fmt.Sprint(i), time.Now()
	id := userID(i)
	u := keyserver.User{ID: id, Name: name, Role: api.RoleUser, DataKey: make([]byte, 160), Version: 1, CreatedAt: at, UpdatedAt: at}
	k := keyserver.Key{UserID: id, Name: api.DefaultKey, Generation: 1, Algorithm: api.Ed25519, PublicKey: make([]byte, 51),
		Fingerprint: fmt.Sprintf("SHA256:%043d", i), Sealed: make([]byte, 160), CreatedAt: at, UpdatedAt: at}
	t := keyserver.Token{ID: keyserver.TokenID("s" + id[1:]), Hash: api.HashToken("s" + name), Kind: api.SessionToken, UserID: id, CreatedAt: at}
	if err := s.CreateUser(b.Context(), u, k, t, fetchEvent("user.create")); err != nil {
		return err
	}
	w := keyserver.Workspace{ID: workspaceID(i), UserID: id, Name: "dev", CreatedAt: at}
	t = keyserver.Token{ID: keyserver.TokenID("w" + id[1:]), Hash: tokenHash(i), Kind: api.WorkspaceToken, UserID: id, WorkspaceID: w.ID, CreatedAt: at}
	return s.CreateWorkspace(b.Context(), w, t, fetchEvent("workspace.create"))
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
	s := open(b, filepath.Join(b.TempDir(), "latchkey.db"))
	fill(b, s, users)
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
						op(b, s, i*7919%users)
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
