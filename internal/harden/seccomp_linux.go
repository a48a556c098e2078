//go:build amd64 || arm64

package harden

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusedCalls are system calls that neither of our processes needs: they look
// into other processes, change the machine, or are parts of the kernel in which
// holes were found again and again. They fail with EPERM; nothing is killed, for
// a library that tries one has another way, or an error that is logged.
var refusedCalls = append([]uint32{
	// other processes
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	// large parts of the kernel
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	// namespaces and file systems
	unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_QUOTACTL, unix.SYS_MKNODAT,
	// the machine
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_PERSONALITY, unix.SYS_SHMAT,
}, refusedOnArch...)

const (
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	x32 = 0x40000000 // the bit of system calls of amd64's other ABI (seccomp(2))

	// The layout of struct seccomp_data (linux/seccomp.h); both machines are
	// little-endian, so an argument's low half comes first.
	numberOffset, archOffset, argsOffset = 0, 4, 16
)

var familiesAllowed = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} // the last lists the machine's addresses

// A filter is a program for seccomp.
type filter []unix.SockFilter

func (f *filter) load(offset uint32) { f.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (f *filter) ret(what uint32)    { f.add(unix.BPF_RET|unix.BPF_K, what, 0, 0) }
func (f *filter) loadArg(n uint32)   { f.load(argsOffset + 8*n) }

func (f *filter) add(code uint16, k uint32, jt, jf uint8) {
	*f = append(*f, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

// when adds an instruction that skips then if its comparison does not hold. What
// is skipped is short: it may have 255 instructions.
func (f *filter) when(compare uint16, k uint32, then func(*filter)) {
	var inner filter
	then(&inner)
	f.add(unix.BPF_JMP|unix.BPF_K|compare, k, 0, uint8(len(inner)))
	*f = append(*f, inner...)
}

func refuse(errno uint32) func(*filter) {
	return func(f *filter) { f.ret(unix.SECCOMP_RET_ERRNO | errno) }
}

// systemCallFilter makes the filter.
func systemCallFilter(c Confinement) filter {
	var f filter
	eperm, allow := refuse(uint32(unix.EPERM)), func(f *filter) { f.ret(unix.SECCOMP_RET_ALLOW) }
	// Numbers mean something else in another ABI: none of those is used.
	f.load(archOffset)
	f.add(unix.BPF_JMP|unix.BPF_K|unix.BPF_JEQ, filterArch, 1, 0)
	eperm(&f)
	f.load(numberOffset)
	if filterArch == unix.AUDIT_ARCH_X86_64 {
		f.when(unix.BPF_JGE, x32, eperm)
	}
	refused := refusedCalls
	if !c.Programs {
		refused = append(refused[:len(refused):len(refused)], startsPrograms...)
	}
	for _, number := range refused {
		f.when(unix.BPF_JEQ, number, eperm)
	}
	// Its flags lie in memory, where no filter can look: C libraries take clone then.
	f.when(unix.BPF_JEQ, unix.SYS_CLONE3, refuse(uint32(unix.ENOSYS)))
	f.when(unix.BPF_JEQ, unix.SYS_CLONE, func(f *filter) {
		f.loadArg(0)
		f.when(unix.BPF_JSET, newNamespaces, eperm)
		if !c.Programs { // threads only
			f.when(unix.BPF_JSET, unix.CLONE_THREAD, allow)
			eperm(f)
		}
		allow(f)
	})
	f.when(unix.BPF_JEQ, unix.SYS_SOCKET, func(f *filter) {
		// Landlock's rules for TCP do not hold for Multipath TCP, which Go listens
		// with where it can.
		f.loadArg(2)
		f.when(unix.BPF_JEQ, unix.IPPROTO_MPTCP, eperm)
		f.loadArg(0)
		for _, family := range familiesAllowed {
			f.when(unix.BPF_JEQ, family, allow)
		}
		eperm(f)
	})
	if !usesCgo && !c.Programs { // a program could not even load itself
		for _, number := range []uint32{unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_PKEY_MPROTECT} {
			f.when(unix.BPF_JEQ, number, func(f *filter) {
				f.loadArg(2)
				f.when(unix.BPF_JSET, unix.PROT_EXEC, eperm)
				allow(f)
			})
		}
	}
	allow(&f)
	return f
}

// installFilter installs a filter on all threads.
func installFilter(f filter) error {
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if tid != 0 {
		return fmt.Errorf("thread %d has a filter of its own", tid)
	}
	return nil
}

// trySystemCalls tries calls that must be refused, with arguments with which
// they do nothing if they are not.
func trySystemCalls(c Confinement) error {
	const none = ^uintptr(0)
	tries := map[string][3]uintptr{
		"ptrace":           {unix.SYS_PTRACE, none, none},
		"process_vm_readv": {unix.SYS_PROCESS_VM_READV, none, 0},
		"bpf":              {unix.SYS_BPF, none, 0},
		"io_uring_setup":   {unix.SYS_IO_URING_SETUP, 0, 0},
		"userfaultfd":      {unix.SYS_USERFAULTFD, none, 0},
		"keyctl":           {unix.SYS_KEYCTL, none, 0},
		"unshare":          {unix.SYS_UNSHARE, 0, 0},
		"setns":            {unix.SYS_SETNS, none, 0},
		"socket(AF_ALG)":   {unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET},
	}
	if !c.Programs {
		tries["execve"] = [3]uintptr{unix.SYS_EXECVE, 0, 0}
	}
	for name, call := range tries {
		_, _, errno := unix.Syscall(call[0], call[1], call[2], 0)
		if errno != unix.EPERM {
			return fmt.Errorf("%s was tried, and came to %v", name, errno)
		}
	}
	if usesCgo || c.Programs {
		return nil
	}
	b, err := unix.Mmap(-1, 0, 1, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		unix.Munmap(b)
	}
	if err != unix.EPERM {
		return fmt.Errorf("memory that is executable was asked for, and came to %v", err)
	}
	return nil
}
