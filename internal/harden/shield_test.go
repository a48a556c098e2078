package harden

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

// shields are the ways to shield a secret; the second is what the first does
// without memfd_secret(2).
var shields = map[string]func([]byte) (*Shielded, error){"Shield": Shield, "shieldSealed": shieldSealed}

func TestShielded(t *testing.T) {
	for name, shield := range shields {
		for _, size := range []int{1, 32, 2400, maxShielded} {
			want := make([]byte, size)
			rand.Read(want)
			s, err := shield(want)
			if err != nil {
				t.Fatalf("%s of %d bytes: %v", name, size, err)
			}
			var uses sync.WaitGroup
			for range 4 {
				uses.Go(func() {
					err := s.Use(func(got []byte) error {
						if !bytes.Equal(got, want) {
							t.Errorf("%s of %d bytes shows another secret than it was given", name, size)
						}
						return errors.ErrUnsupported
					})
					if !errors.Is(err, errors.ErrUnsupported) {
						t.Errorf("%s of %d bytes: Use = %v; want what the function returned", name, size, err)
					}
				})
			}
			uses.Wait()
			for range 2 {
				if err := s.Close(); err != nil {
					t.Errorf("%s of %d bytes: Close: %v", name, size, err)
				}
			}
			wantUnusable(t, s, name+", closed")
		}
	}
	for _, size := range []int{0, maxShielded + 1} {
		if s, err := Shield(make([]byte, size)); err == nil {
			s.Close()
			t.Errorf("Shield of %d bytes succeeded; want an error", size)
		}
	}
}

// wantUnusable checks that Use fails, and shows nothing.
func wantUnusable(t *testing.T, s *Shielded, when string) {
	t.Helper()
	err := s.Use(func([]byte) error {
		t.Errorf("%s: a secret was shown", when)
		return nil
	})
	if err == nil {
		t.Errorf("%s: Use succeeded; want an error", when)
	}
}

// What lies in memory is the prekey and the sealed secret, whole: a bit that
// changes in either keeps it from opening.
func TestSealed(t *testing.T) {
	secret := []byte(strings.Repeat("a secret that repeats itself ", 20))
	s, err := shieldSealed(secret)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	again, err := shieldSealed(secret)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	memory := s.in.Bytes()
	for at := 0; at+8 <= len(secret); at += 8 {
		if bytes.Contains(s.in.pages, secret[at:at+8]) {
			t.Fatalf("8 bytes of the secret, from byte %d on, are in the memory in which it is sealed", at)
		}
	}
	if bytes.Equal(memory[:prekeySize], again.in.Bytes()[:prekeySize]) {
		t.Error("two secrets have one prekey")
	}
	for _, at := range []int{0, prekeySize / 2, prekeySize - 1, prekeySize, prekeySize + 12, len(memory) - 1} {
		memory[at] ^= 1
		wantUnusable(t, s, "a bit has changed")
		memory[at] ^= 1
	}
	if err := s.Use(func(got []byte) error {
		if !bytes.Equal(got, secret) {
			t.Error("with the bits as they were, it opens to another secret")
		}
		return nil
	}); err != nil {
		t.Errorf("with the bits as they were: %v", err)
	}
}

// The opened copy is wiped when a use ends, also by a panic; Close wipes prekey
// and sealed secret.
func TestSealedIsWiped(t *testing.T) {
	s, err := shieldSealed([]byte("a secret of thirty-two bytes...."))
	if err != nil {
		t.Fatal(err)
	}
	zero := func(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }
	var shown []byte
	if err := s.Use(func(secret []byte) error { shown = secret; return nil }); err != nil || !zero(shown) {
		t.Errorf("after a use the opened secret is %q, %v; want it wiped", shown, err)
	}
	func() {
		defer func() { recover() }()
		s.Use(func(secret []byte) error { shown = secret; panic("mine") })
	}()
	if !zero(shown) {
		t.Errorf("after a panic the opened secret is %q; want it wiped", shown)
	}
	free := s.in.free
	s.in.free = func(pages []byte) error {
		if !zero(pages) {
			t.Error("the pages were given back before they were wiped")
		}
		return free(pages)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkUse(b *testing.B) {
	for name, shield := range shields {
		b.Run(name, func(b *testing.B) {
			s, err := shield(make([]byte, 32))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.Log(s.Memory())
			for b.Loop() {
				if err := s.Use(func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
