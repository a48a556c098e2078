package witness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hexed writes a line as strace -xx does: what stands between « and » is a string.
func hexed(line string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(line, "«")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		text, after, _ := strings.Cut(rest, "»")
		out.Write(escaped([]byte(text)))
		line = after
	}
}

func TestTraceLines(t *testing.T) {
	const secret = "sixteen bytes, or more"
	for _, c := range []struct {
		name  string
		lines string
		want  string // part of the one finding; "" for none
	}{
		{"a write", `7 write(3<«/tmp/x»>, "«..` + secret + `»", 24) = 24`, "trace: write /tmp/x: it"},
		{"an innocent write", `7 write(3<«/tmp/x»>, "«hello»", 5) = 5`, ""},
		{"an interrupted write", "7 write(3<«/tmp/x»>, \"«" + secret + "»\", 22 <unfinished ...>\n8 +++ exited with 0 +++\n7 <... write resumed>) = 22", "write /tmp/x: it"},
		{"a write that never ends", `7 write(3<«/tmp/x»>, "«` + secret + `»", 22 <unfinished ...>) = ?`, "write /tmp/x: it"},
		{"a write in which the process is killed", `7 write(3<«/tmp/x»>, "«` + secret + `»", 22 <detached ...>`, "write /tmp/x: it"},
		{"a call of which nothing is known", `7 ???( <detached ...>`, ""},
		{"a failed write", `7 write(3<«/tmp/x»>, "«` + secret + `»", 22) = -1 ENOSPC (No space left on device)`, "write /tmp/x: it"},
		{"two writes by two threads", "7 write(3<«/tmp/x»>, \"«" + secret[:9] + "»\", 9) = 9\n8 write(4<«/tmp/x»>(deleted), \"«" + secret[9:] + "»\", 13) = 13", "write /tmp/x: it"},
		{"a write that was cut short", "7 write(3<«/tmp/x»>, \"«" + secret[:12] + "»\", 12) = 5\n7 write(3<«/tmp/x»>, \"«" + secret[5:] + "»\", 17) = 17", "write /tmp/x: it"},
		{"a vector", `7 writev(3<«pipe:[9]»>, [{iov_base="«` + secret[:4] + `»", iov_len=4}, {iov_base="«` + secret[4:] + `»", iov_len=18}], 2) = 22`, "writev pipe:[9]: it"},
		{"a buffer in secret memory", `7 write(6<«/tmp/x»>(deleted), 0x7f0fde825000, 32) = 32`, "cannot read"},
		{"a vector in secret memory", `7 writev(6<«/tmp/x»>, [{iov_base=0x7f0fde825000, iov_len=2}], 1) = 2`, "cannot read"},
		{"no buffer", `7 write(6<«/tmp/x»>, NULL, 0) = 0`, ""},
		{"a netlink message", `7 sendto(3<«socket:[9]»>, [{nlmsg_len=20, nlmsg_type=RTM_GETLINK}], 20, 0, NULL, 0) = 20`, ""},
		{"an argument", `7 execve("«/bin/x»", ["«x»", "«` + secret + `»"], ["«A=b»"]) = 0`, "execve /bin/x: it"},
		{"an environment", `7 execve("«/bin/x»", ["«x»"], ["«A=b»", "«K=` + secret + `»"]) = 0`, "execve /bin/x: it"},
		{"a name", `7 mkdirat(AT_FDCWD<«/tmp»>, "«` + secret + `»", 0777) = 0`, "mkdirat sixteen bytes, or more: it"},
		{"memfd_create", `7 memfd_create("«x»", MFD_CLOEXEC) = 3<«/memfd:x»>(deleted)`, "memfd_create x: "},
		{"O_TMPFILE", `7 openat(AT_FDCWD<«/»>, "«/tmp»", O_RDWR|O_TMPFILE, 0600) = 3<«/tmp/#12»>(deleted)`, "without a name"},
		{"a shared map", `7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 6<«/tmp/x»>, 0) = 0x7f0fde824000`, "shared with /tmp/x"},
		{"a shared map that may be made writable", "7 openat(AT_FDCWD<«/»>, \"«/tmp/x»\", O_RDWR) = 6<«/tmp/x»>\n7 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 6<«/tmp/x»>, 0) = 0x7f0fde824000", "shared with /tmp/x"},
		{"a shared map to read", `7 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 6<«/tmp/x»>, 0) = 0x7f0fde824000`, ""},
		{"an allowed shared map", `7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 6<«/allowed»>, 0) = 0x7f0fde824000`, ""},
		{"secret memory", `7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 4<«/secretmem»>(deleted), 0) = 0x7f0fde825000`, ""},
		{"memory for children", `7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0) = 0x7f0fde7ba000`, "children"},
		{"private memory", `7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0fde7ba000`, ""},
		{"an allowed connection", `7 connect(3<«socket:[9]»>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("«10.0.0.1»")}, 16) = -1 EINPROGRESS (Operation now in progress)`, ""},
		{"another connection", `7 connect(3<«socket:[9]»>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("«10.0.0.1»")}, 16) = -1 EINPROGRESS (Operation now in progress)`, "10.0.0.1:80"},
		{"a connection over IPv6", `7 connect(3<«socket:[9]»>, {sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "«::1»", &sin6_addr), sin6_scope_id=0}, 28) = 0`, "[::1]:53"},
		{"a datagram", `7 sendto(8<«socket:[9]»>, "«q»", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("«127.0.0.1»")}, 16) = 1`, "127.0.0.1:53"},
		{"a socket in the file system", `7 connect(7<«socket:[9]»>, {sa_family=AF_UNIX, sun_path="«/run/x»"}, 16) = 0`, "goes to /run/x"},
	} {
		trace := NewTrace(NewMatcher(Secret{"it", []byte(secret)}), "strace", t.TempDir())
		trace.AllowConnect(func(address string) bool { return address == "10.0.0.1:443" })
		trace.AllowShared(func(path string) bool { return path == "/allowed" })
		p := newTracee(trace)
		for line := range strings.SplitSeq(hexed(c.lines), "\n") {
			if err := p.line(line); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		found, err := trace.Findings()
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && len(found) > 0:
			t.Errorf("%s gave %v; want no finding", c.name, found)
		case c.want != "" && (len(found) != 1 || !strings.Contains(found[0].String(), c.want)):
			t.Errorf("%s gave %v; want one with %q", c.name, found, c.want)
		}
	}
}

// What the trace cannot understand must not pass for nothing seen.
func TestTraceRefusesWhatItCannotRead(t *testing.T) {
	for _, line := range []string{
		`7 write(3<«/tmp/x»>, "«abc»"..., 24) = 24`,
		`7 write(3<«/tmp/x»>, "abc", 3) = 3`,
		`7 <... write resumed>) = 3`,
		`7 something else`,
		`7 write(3`,
	} {
		p := newTracee(NewTrace(NewMatcher(Secret{"it", make([]byte, 16)}), "strace", t.TempDir()))
		if err := p.line(hexed(line)); err == nil {
			t.Errorf("the line %q was accepted", line)
		}
	}
}

func TestTraceOfRealPrograms(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	const secret = "sixteen bytes, or more"
	trace := NewTrace(NewMatcher(Secret{"it", []byte(secret)}), strace, t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	argv, err := trace.Wrap([]string{"sh", "-c", `(printf 'sixteen bytes, '; printf 'or more') > ` + file + ` & cat /dev/null; wait`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trace.Wrap([]string{"this one is never run"}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	found, err := trace.Findings()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Where != "write "+file {
		t.Errorf("the trace of sh writing a secret to %s in two parts gave %v; want that", file, found)
	}
	if !trace.Ran("cat") {
		t.Error("the trace did not see sh start cat")
	}
}
