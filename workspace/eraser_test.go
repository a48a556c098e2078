package workspace

import (
	"crypto/rand"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
)

// A key stays expanded while it signs again and again, and no longer: what one
// key has left is erased whatever another does meanwhile.
func TestEraser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var collections atomic.Int32
		e := newEraser(func() { collections.Add(1) })
		busy, idle := newTestSigner(t, e), newTestSigner(t, e)
		sign := func(s *signer) {
			t.Helper()
			if _, err := s.Sign(rand.Reader, []byte("data")); err != nil {
				t.Fatal(err)
			}
		}
		want := func(when string, readable int, collected int32, expanded ...bool) {
			t.Helper()
			synctest.Wait()
			if got, n := e.readable(), collections.Load(); got != readable || n != collected {
				t.Errorf("%s, %d keys are readable, after %d collections; want %d, %d", when, got, n, readable, collected)
			}
			for i, s := range []*signer{busy, idle} {
				if got := s.expanded.Load() != nil; got != expanded[i] {
					t.Errorf("%s, key %d is expanded: %v; want %v", when, i, got, expanded[i])
				}
			}
		}
		want("when they were just made", 2, 0, false, false)
		time.Sleep(erasePause)
		want("a moment later", 0, 1, false, false)

		sign(idle)
		for range 10 {
			sign(busy)
			time.Sleep(erasePause / 2)
		}
		want("when one has rested and one has not", 1, 2, true, false)
		time.Sleep(2 * erasePause)
		want("when both have rested", 0, 3, false, false)
		time.Sleep(time.Hour)
		want("an hour later", 0, 3, false, false)

		sign(busy)
		if err := busy.Close(); err != nil {
			t.Error(err)
		}
		want("when it was closed", 0, 4, false, false) // once, by Close
		time.Sleep(time.Hour)
		want("an hour after that", 0, 4, false, false)
	})
}

// A key that signs while it is being erased is erased once more.
func TestEraserMeetsSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := make(chan *signer, 1)
		var collections atomic.Int32
		e := newEraser(func() {
			if collections.Add(1) == 1 {
				s := <-made
				if _, err := s.Sign(rand.Reader, []byte("data")); err != nil {
					t.Error(err)
				}
			}
		})
		s := newTestSigner(t, e)
		made <- s
		time.Sleep(erasePause)
		synctest.Wait()
		if n := e.readable(); n != 1 || collections.Load() != 1 {
			t.Errorf("%d keys are readable after %d collections; want the one, after 1", n, collections.Load())
		}
		time.Sleep(erasePause)
		synctest.Wait()
		if n := e.readable(); n != 0 || collections.Load() != 2 || s.expanded.Load() != nil {
			t.Errorf("%d keys are readable after %d collections; want none, after 2", n, collections.Load())
		}
	})
}

func newTestSigner(t *testing.T, e *eraser) *signer {
	t.Helper()
	key := newEd25519(t)
	form, err := formOf(key.private)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := harden.Shield(form)
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(key.public, kept, e, e.collect)
	t.Cleanup(func() { s.Close() })
	return s
}
