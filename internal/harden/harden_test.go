package harden

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func TestErasesSaysHowItWasBuilt(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build info")
	}
	experiments := ""
	for _, s := range info.Settings {
		if s.Key == "GOEXPERIMENT" {
			experiments = s.Value
		}
	}
	built := slices.Contains(strings.Split(experiments, ","), "runtimesecret")
	if want := built && canErase; Erases() != want {
		t.Errorf("Erases() = %v for a build with GOEXPERIMENT=%q on %s; want %v", Erases(), experiments, runtime.GOARCH, want)
	}
}

func TestHasExperiment(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    bool
	}{
		{"go1.26.8", false},
		{"go1.26.8-X:runtimesecret", true},
		{"go1.26.8 X:runtimesecret", true},
		{"go1.26.8-X:jsonv2,runtimesecret", true},
		{"go1.26.8-X:runtimesecret,jsonv2 more", true},
		{"go1.26.8-X:noruntimesecret", false},
		{"devel go1.27-runtimesecret Mon Jan 1", false},
	} {
		if got := hasExperiment(tt.version, "runtimesecret"); got != tt.want {
			t.Errorf("hasExperiment(%q) = %v; want %v", tt.version, got, tt.want)
		}
	}
}

func TestDo(t *testing.T) {
	calls := 0
	Do(func() { Do(func() { calls++ }) })
	if calls != 1 {
		t.Errorf("f was called %d times; want once", calls)
	}
	defer func() {
		if got := recover(); got != "mine" {
			t.Errorf("a panic of f came out as %v; want f's own", got)
		}
	}()
	Do(func() { panic("mine") })
}

func TestBufferSizes(t *testing.T) {
	page := os.Getpagesize()
	for _, size := range []int{-1 << 63, -1, 0, maxBuffer + 1, 1<<63 - 1} {
		if b, err := NewLockedBuffer(size); err == nil {
			b.Close()
			t.Errorf("NewLockedBuffer(%d) succeeded; want an error", size)
		}
	}
	for _, size := range []int{1, 32, page - 1, page, page + 1, maxBuffer} {
		b, err := NewLockedBuffer(size)
		if err != nil {
			t.Errorf("NewLockedBuffer(%d): %v", size, err)
			continue
		}
		mem := b.Bytes()
		if len(mem) != size || cap(mem) != size {
			t.Errorf("NewLockedBuffer(%d) has %d bytes, and room for %d; want %[1]d", size, len(mem), cap(mem))
		}
		if strings.Trim(string(mem), "\x00") != "" {
			t.Errorf("NewLockedBuffer(%d) is not all zero", size)
		}
		mem[0], mem[size-1] = 1, 2
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("Close of %d bytes: %v", size, err)
			}
		}
		if b.Bytes() != nil {
			t.Error("Bytes is not nil after Close")
		}
	}
}

func TestCloseWipes(t *testing.T) {
	b, err := NewLockedBuffer(32)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), "a secret of thirty-two bytes....")
	unmap := b.free
	b.free = func(pages []byte) error {
		if strings.Trim(string(pages), "\x00") != "" {
			t.Error("the pages were given back with the secret in them")
		}
		return unmap(pages)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
