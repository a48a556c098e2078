package workspace

import (
	"bufio"
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/test/witness"
)

// manySignatures is how many a sealed holder makes when told to sign.
const manySignatures = 90

// holdAKeySealed is the role of a process that holds a key on a kernel without
// memfd_secret(2). After each order it waits until what that has left is erased, as
// it is in a daemon that rests.
func holdAKeySealed() {
	if err := refuseSecretMemory(); err != nil {
		log.Fatal(err)
	}
	if err := holdSealed(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// refuseSecretMemory has the kernel refuse memfd_secret(2) to this process.
func refuseSecretMemory() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call (seccomp(2))
		{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: unix.SYS_MEMFD_SECRET, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

func holdSealed(orders io.Reader, answers io.Writer) error {
	ctx := context.Background()
	client, err := api.NewClient(os.Args[1], []byte(os.Getenv("HOLDER_CA")), func() string { return "a token" })
	if err != nil {
		return err
	}
	source := NewSource(client, nil)
	keys, err := source.Keys(ctx)
	if err != nil {
		return err
	}
	public := keys[0].Public
	var held sshagent.Signer
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		switch lines.Text() {
		case "load":
			held, err = source.Signer(ctx, public)
		case "sign":
			err = signMany(public, held)
		case "bare": // the control: the same key in the same memory, as it is
			err = keepBare(held.(*signer))
		}
		if err != nil {
			return err
		}
		for source.eraser.readable() > 0 {
			runtime.Gosched()
		}
		fmt.Fprintln(answers, held.(*signer).kept.Memory())
	}
	return nil
}

func signMany(public ssh.PublicKey, held sshagent.Signer) error {
	for i := range manySignatures {
		data := fmt.Appendf(nil, "what is to be signed, %d", i)
		signature, err := held.Sign(rand.Reader, data)
		if err != nil {
			return err
		}
		if err := public.Verify(data, signature); err != nil {
			return err
		}
	}
	return nil
}

func keepBare(held *signer) error {
	return held.kept.Use(func(kept []byte) error {
		b, err := harden.NewLockedBuffer(len(kept))
		if err == nil {
			copy(b.Bytes(), kept)
		}
		return err
	})
}

// TestSealedMemory reads all memory of a process that holds a key where the
// kernel has no memfd_secret(2): nothing of the key is there once it has been
// loaded, nor after many signatures, though the key is held. It is seen as soon
// as the same memory holds it as it is.
func TestSealedMemory(t *testing.T) {
	if !harden.Erases() {
		t.Log("this build does not erase: `make erase` runs this test")
		return
	}
	for _, key := range []testKey{newEd25519(t), newECDSA(t, "ecdsa-p256", elliptic.P256()), newRSA(t, 3072)} {
		t.Run(key.name, func(t *testing.T) {
			url, ca := serveTLS(t, &testServer{keys: []testKey{key}})
			cmd := roleCommand("sealed holder", url)
			cmd.Env = append(cmd.Env, "HOLDER_CA="+ca)
			orders, answers := startRole(t, cmd)
			secrets, err := witness.MemorySecrets(key.private)
			if err != nil {
				t.Fatal(err)
			}
			matcher := witness.NewMatcher(secrets...)
			look := func(order string) []witness.Finding {
				t.Helper()
				fmt.Fprintln(orders, order)
				if line, err := answers.ReadString('\n'); strings.TrimSpace(line) != "mlock, sealed at rest" {
					t.Fatalf("ordered to %s, the process said that the key lies in %q, %v; want that it is sealed", order, line, err)
				}
				found, err := witness.Memory(matcher, cmd.Process.Pid)
				if err != nil {
					t.Errorf("not all memory was looked through: %v", err)
				}
				return found
			}
			for _, order := range []string{"load", "sign"} {
				if found := look(order); len(found) > 0 {
					t.Errorf("ordered to %s, the process has these in memory: %v", order, found)
				}
			}
			if len(look("bare")) == 0 {
				t.Error("nothing of the key was found in a process that keeps it unsealed: this test cannot see")
			}
		})
	}
}
