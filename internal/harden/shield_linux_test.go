package harden

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unmask writes the secret of secretMask.
func unmask(into []byte) {
	for i := range into {
		into[i] = secretMask[i] ^ 0x5a
	}
}

// refuseSecretMemory makes this process one on a kernel without memfd_secret(2).
func refuseSecretMemory() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	if err := installFilter([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call (seccomp(2))
		{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: unix.SYS_MEMFD_SECRET, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}); err != nil {
		panic(err)
	}
}

// A rest is what a process says of the secret that it keeps.
type rest struct {
	Memory        string
	Expected, Gap string // of such a secret, as Process says it
}

// sealAndRest keeps the secret without memfd_secret(2), and uses it. It does not
// call Process, which would shut its memory to the test of an ordinary user.
func sealAndRest() any {
	refuseSecretMemory()
	var s *Shielded
	var err error
	Do(func() {
		secret := make([]byte, len(secretMask))
		unmask(secret)
		s, err = Shield(secret)
	})
	for range 8 {
		if err == nil {
			err = s.Use(func(secret []byte) error {
				sink = append(sink, slices.Clone(secret))
				return nil
			})
		}
	}
	if err != nil {
		panic(err)
	}
	sink = nil
	Collect()
	r := rest{Memory: s.Memory()}
	r.Expected, r.Gap = tryShield()
	return r
}

// plainAtRest keeps the secret in the same memory, as it is.
func plainAtRest() any {
	b, err := NewLockedBuffer(len(secretMask))
	if err != nil {
		panic(err)
	}
	unmask(b.Bytes())
	return rest{Memory: b.Memory()}
}

// Without memfd_secret(2), a secret at rest is in no memory that can be read.
// The same look finds it in the same memory when it is not sealed.
func TestSealedAtRest(t *testing.T) {
	secret := make([]byte, len(secretMask))
	unmask(secret)
	var plain, sealed rest
	pid := play(t, "plain at rest", &plain)
	if n := copiesIn(t, pid, secret); n == 0 || plain.Memory != mlocked {
		t.Errorf("a process that keeps the secret as it is, in %s, has %d copies of it in memory: this test cannot see", plain.Memory, n)
	}
	pid = play(t, "sealed at rest", &sealed)
	if want := mlocked + sealedAtRest; sealed.Memory != want || sealed.Expected != want {
		t.Errorf("without memfd_secret a key lies in %q, and Process expects %q; want %q", sealed.Memory, sealed.Expected, want)
	}
	if !strings.Contains(sealed.Gap, "secretmem.enable=1") {
		t.Errorf("without memfd_secret the gap is %q; want one that says how to have it", sealed.Gap)
	}
	if !Erases() {
		t.Log("this build does not erase: what uses leave behind is looked for by `make erase`")
		return
	}
	if n := copiesIn(t, pid, secret); n != 0 {
		t.Errorf("a process that keeps the secret sealed has %d copies of it in memory; want none", n)
	}
}
