package witness

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxMapping bounds the mappings that Memory reads. A Go program of ours has
// none that is larger, unless it is built with the race detector, whose shadow
// memory is some hundred GiB of nothing.
const maxMapping = 256 << 20

// Memory looks through the memory of a process that this one may attach to.
// Pages of memfd_secret(2) cannot be read by anyone and are left out. The error
// says what else was left out.
func Memory(m *Matcher, pid int) ([]Finding, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, fmt.Errorf("looking through memory: %w", err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, fmt.Errorf("looking through memory: %w", err)
	}
	defer mem.Close()
	out := findings{witness: "memory"}
	var read int64
	var leftOut []error
	piece := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var low, high int64
		var perms string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &low, &high, &perms); n != 3 || perms[0] != 'r' || sealedOff(line) {
			continue
		}
		if high-low > maxMapping {
			leftOut = append(leftOut, fmt.Errorf("looking through memory: left out a mapping of %d MiB", (high-low)>>20))
			continue
		}
		stream := m.Stream()
		for at := low; at < high; at += int64(len(piece)) {
			b := piece[:min(int64(len(piece)), high-at)]
			n, err := mem.ReadAt(b, at)
			if n < len(b) {
				leftOut = append(leftOut, fmt.Errorf("looking through memory: %s: %w", strings.TrimSpace(line), err))
			}
			read += int64(n)
			out.add(strings.TrimSpace(line), stream.Write(b[:n])...)
		}
	}
	if read < 1<<20 {
		leftOut = append(leftOut, fmt.Errorf("looking through memory: read %d bytes of process %d, which cannot be all", read, pid))
	}
	return out.all(), errors.Join(leftOut...)
}

// sealedOff reports whether a mapping is one that the kernel lets nobody read.
func sealedOff(mapping string) bool {
	for _, name := range []string{"secretmem", "[vvar", "[vsyscall]"} {
		if strings.Contains(mapping, name) {
			return true
		}
	}
	return false
}

// MemorySecrets adds to [Secrets] what computing with a key makes of it in memory.
func MemorySecrets(key crypto.PrivateKey) ([]Secret, error) {
	secrets, err := Secrets(key)
	if key, ok := key.(ed25519.PrivateKey); ok {
		// SHA-512 reads its input as big-endian words, and its state is words.
		hash := sha512.Sum512(key.Seed())
		secrets = append(secrets,
			Secret{"seed as SHA-512's words", inWords(key.Seed())},
			Secret{"scalar as SHA-512's state", inWords(hash[:32])},
			Secret{"prefix as SHA-512's state", inWords(hash[32:])})
	}
	return secrets, err
}

// inWords is b as 64-bit words of this machine that were read big-endian.
func inWords(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for ; len(b) >= 8; b = b[8:] {
		out = binary.NativeEndian.AppendUint64(out, binary.BigEndian.Uint64(b))
	}
	return out
}
