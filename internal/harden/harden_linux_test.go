package harden

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// ordinaryUser makes a process that root's test starts one of an ordinary user.
func ordinaryUser() *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

func limitLockedMemory(bytes uint64) {
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		panic(err)
	}
}

func TestProcess(t *testing.T) {
	var r Report
	pid := play(t, "hardened", &r)
	if r.Dumpable || r.CoreSize != 0 || r.CoreMax != 0 {
		t.Errorf("Process() = %+v; want a process that is not dumpable, with a core size of 0", r)
	}
	if r.Erases != Erases() {
		t.Errorf("Process() says Erases = %v; want %v", r.Erases, Erases())
	}
	if said := slices.ContainsFunc(r.Gaps, func(g string) bool { return strings.Contains(g, "GOEXPERIMENT=runtimesecret") }); said == Erases() {
		t.Errorf("Erases() = %v, and the gaps are %q", Erases(), r.Gaps)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	if got := coreLimits(string(limits)); got != "0 0" {
		t.Errorf("the kernel says that the limits of core files are %q; want 0 0", got)
	}
	for _, name := range []string{"mem", "environ"} {
		if err := readAsOrdinaryUser(fmt.Sprintf("/proc/%d/%s", pid, name)); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("another process of the same user opens %s: %v; want permission denied", name, err)
		}
	}
	// The same for a process that is not hardened, or the test shows nothing.
	var said string
	pid = play(t, "dropped secret", &said)
	if err := readAsOrdinaryUser(fmt.Sprintf("/proc/%d/environ", pid)); err != nil {
		t.Errorf("another process of the same user opens environ of a process that is not hardened: %v; want that it can", err)
	}
}

// A hosted is what a process that starts programs of its user says.
type hosted struct {
	Report             Report
	Started, Unchanged string // the limits of programs, started with AsStarted and without
}

// startAsHost is the role of a host, with limits of its own.
func startAsHost() (h hosted) {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 4 << 10, Max: 1 << 20}); err != nil {
		panic(err)
	}
	limits := func(start func(*exec.Cmd) error) string {
		var out bytes.Buffer
		cmd := exec.Command("cat", "/proc/self/limits")
		cmd.Stdout = &out
		if err := start(cmd); err != nil {
			panic(err)
		}
		cmd.Wait()
		return coreLimits(out.String())
	}
	h.Report = HostProcess()
	h.Started = limits(func(cmd *exec.Cmd) error { return h.Report.AsStarted(cmd.Start) })
	h.Unchanged = limits((*exec.Cmd).Start)
	return h
}

// coreLimits are the soft and the hard limit of core files in a file of /proc.
func coreLimits(file string) string {
	for line := range strings.Lines(file) {
		if strings.HasPrefix(line, "Max core file size") {
			return strings.Join(strings.Fields(line)[4:6], " ")
		}
	}
	return ""
}

// A host protects itself as others do, and the programs that it starts have the
// limits that it was started with.
func TestHostProcess(t *testing.T) {
	var h hosted
	pid := play(t, "host", &h)
	if r := h.Report; r.Dumpable || r.CoreSize != 0 || r.CoreMax != 1<<20 {
		t.Errorf("HostProcess() = %+v; want a process that is not dumpable, with a core size of 0 that can be raised to 1 MiB", r)
	}
	if h.Started != "4096 1048576" || h.Unchanged != "0 1048576" {
		t.Errorf("programs have the limits %q, and %q if not started by AsStarted; want 4096 1048576, and 0 1048576", h.Started, h.Unchanged)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	if got := coreLimits(string(limits)); got != "0 1048576" {
		t.Errorf("the process's own limits are %q; want 0 1048576", got)
	}
	if err := readAsOrdinaryUser(fmt.Sprintf("/proc/%d/mem", pid)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another process of the same user opens its memory: %v; want permission denied", err)
	}
}

func readAsOrdinaryUser(path string) error {
	cmd := exec.Command("head", "-c", "1", path)
	cmd.SysProcAttr = ordinaryUser()
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("Permission denied")) {
		return fs.ErrPermission
	}
	return err
}

func TestNoLockedMemory(t *testing.T) {
	var r Report
	play(t, "no locked memory", &r)
	if want := unlocked + sealedAtRest; r.Memory != want {
		t.Errorf("where no memory can be locked, Process() says %q; want %q", r.Memory, want)
	}
	if !slices.ContainsFunc(r.Gaps, func(g string) bool { return strings.Contains(g, "ulimit -l") }) {
		t.Errorf("the gaps are %q; want one that says to raise the limit", r.Gaps)
	}
}

func TestBufferIsLockedAndNotDumped(t *testing.T) {
	for _, tt := range []struct {
		name    string
		buffer  func() (*Buffer, error)
		mlocked bool // whatever the kernel has
	}{
		{"NewLockedBuffer", func() (*Buffer, error) { return NewLockedBuffer(32) }, true},
		{"Shield", func() (*Buffer, error) { return bufferOf(Shield(make([]byte, 32))) }, false},
		{"shieldSealed", func() (*Buffer, error) { return bufferOf(shieldSealed(make([]byte, 32))) }, true},
	} {
		b, err := tt.buffer()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		name, flags := mapping(t, uintptr(unsafe.Pointer(&b.Bytes()[0])))
		for _, flag := range []string{"lo", "dd", "dc"} {
			if !slices.Contains(flags, flag) {
				t.Errorf("the mapping %q of %s in %s has the flags %q; want lo (locked), dd (not dumped) and dc (not in children) among them", name, tt.name, b.Memory(), flags)
			}
		}
		if secret := strings.Contains(name, "secretmem"); secret != (b.Memory() == memfdSecret) {
			t.Errorf("%s in %s lies in the mapping %q", tt.name, b.Memory(), name)
		}
		if tt.mlocked && b.Memory() != mlocked {
			t.Errorf("%s lies in %s; want %s", tt.name, b.Memory(), mlocked)
		}
	}
}

func bufferOf(s *Shielded, err error) (*Buffer, error) {
	if err != nil {
		return nil, err
	}
	return s.in, nil
}

// mapping finds an address in /proc/self/smaps.
func mapping(t *testing.T, address uintptr) (name string, flags []string) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		var low, high uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &low, &high); n == 2 {
			found = low <= address && address < high
			name = line
		}
		if rest, ok := strings.CutPrefix(line, "VmFlags:"); ok && found {
			return name, strings.Fields(rest)
		}
	}
	t.Fatalf("%#x is in no mapping", address)
	return "", nil
}

// useSecret makes copies of a secret on the heap and on the stack, as crypto
// packages would.
//
//go:noinline
func useSecret(copies int) (sum byte) {
	var onStack [len(secretMask)]byte
	for range copies {
		onHeap := make([]byte, len(secretMask))
		for i, m := range secretMask {
			onHeap[i] = byte(m) ^ 0x5a
		}
		copy(onStack[:], onHeap)
		sink = append(sink, onHeap)
		sum += onStack[3]
	}
	sink = nil
	return sum
}

// The secret is this with each byte changed, so that neither program nor test
// holds it before it is wanted.
const secretMask = "kD93lsm-WX02ppae/dTq81mcnRYqpw0c"

var sink [][]byte

func TestCollectErases(t *testing.T) {
	if !Erases() {
		t.Log("this build does not erase: Do is tried by `make erase`")
		return
	}
	var said string
	pid := play(t, "dropped secret", &said)
	secret := []byte(secretMask)
	for i := range secret {
		secret[i] ^= 0x5a
	}
	if n := copiesIn(t, pid, secret); n != 0 {
		t.Errorf("after Do and Collect, %d copies of the secret are in memory; want none", n)
	}
}

// copiesIn counts how often a needle is in a process's memory.
func copiesIn(t *testing.T, pid int, needle []byte) (n int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	read := 0
	for line := range strings.Lines(string(maps)) {
		var low, high int64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &low, &high, &perms); err != nil || perms[0] != 'r' || high < low {
			continue
		}
		b := make([]byte, high-low)
		got, _ := mem.ReadAt(b, low) // [vvar] and the like cannot be read
		read += got
		n += bytes.Count(b[:got], needle)
	}
	if read < 1<<20 {
		t.Fatalf("read %d bytes of memory of process %d: that cannot be all", read, pid)
	}
	return n
}

// The program's own pages are given back, and come again when they are used.
func TestFreeProgram(t *testing.T) {
	resident := func() (kiB int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "RssFile:")
		if _, err := fmt.Sscan(rest, &kiB); err != nil {
			t.Fatal(err)
		}
		return kiB
	}
	if len(programMappings()) == 0 {
		t.Fatal("no mapping of the program's file was found")
	}
	for _, m := range programMappings() { // all that there is
		for i := 0; i < len(m); i += os.Getpagesize() {
			_ = m[i : i+1 : i+1][0]
		}
	}
	before := resident()
	freeProgram()
	if after := resident(); after > before*3/4 { // looking needs some of them
		t.Errorf("of %d KiB of files %d are still resident; want much less", before, after)
	}
}
