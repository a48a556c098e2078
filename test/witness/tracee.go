package witness

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// A tracee is what one strace tells about a program and all that it starts.
type tracee struct {
	trace    *Trace
	begun    map[string]string  // by process: a call of which the end is still to come
	streams  map[string]*Stream // by file: what was written to it
	writable map[string]bool    // files that were opened to be read and written
}

func newTracee(t *Trace) *tracee {
	return &tracee{trace: t, begun: make(map[string]string), streams: make(map[string]*Stream), writable: make(map[string]bool)}
}

// line takes one line of strace's output: a whole call, the beginning of one that
// another process's line interrupts, its end, or that a process is gone. With
// -xx all text in it is hexadecimal, so whatever looks like syntax is syntax.
func (p *tracee) line(line string) error {
	pid, line, _ := strings.Cut(line, " ")
	line = strings.TrimLeft(line, " ")
	if line == "" || strings.HasPrefix(line, "+++") {
		return nil
	}
	if end, ok := strings.CutPrefix(line, "<... "); ok {
		_, end, _ = strings.Cut(end, " resumed>")
		begun, ok := p.begun[pid]
		if !ok {
			return errors.New("a call ends that never began")
		}
		delete(p.begun, pid)
		line = begun + end
	}
	if strings.HasPrefix(line, "???(") {
		return nil // killed on its way into a call, which then is not made
	}
	begun, _, unfinished := strings.Cut(line, " <unfinished ...>")
	begun, _, killed := strings.Cut(begun, " <detached ...>")
	name, rest, ok := strings.Cut(begun, "(")
	if !ok {
		return errors.New("not in the expected form")
	}
	if unfinished || killed {
		p.begun[pid] = begun
		// What never ends, because the process is killed, was handed to the
		// kernel all the same.
		return p.call(name, rest, "?")
	}
	end := strings.LastIndex(rest, ") = ")
	if end < 0 {
		return errors.New("not in the expected form")
	}
	return p.call(name, rest[:end], rest[end+len(") = "):])
}

// call takes one system call: its arguments and its result, as strace prints
// them. A call that has no result yet is "?".
func (p *tracee) call(name, args, result string) error {
	data, err := quoted(args)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	see := func(what ...string) {
		if len(what) > 0 {
			p.trace.seen.add(name+" "+place(args), what...)
		}
	}
	see(p.trace.matcher.Find(data)...)
	if to := address(args); to != "" && !p.trace.mayConnect(to) {
		see("goes to " + to) // whether or not it gets there
	}
	if result == "?" || strings.HasPrefix(result, "-1 ") {
		return nil
	}
	switch name {
	case "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg", "vmsplice":
		see(p.written(name, args, result, data)...)
	case "open", "openat", "openat2", "creat":
		if strings.Contains(args, "O_TMPFILE") {
			see("a file without a name")
		}
		if strings.Contains(args, "O_RDWR") {
			p.writable[descriptor(result)] = true
		}
	case "mmap":
		see(p.mapped(args)...)
	case "execve", "execveat":
		p.trace.ran(first(args))
	case "memfd_create", "shmget", "mq_open", "io_uring_setup", "process_vm_writev", "add_key", "msgsnd":
		see("bytes go where no witness looks")
	}
	return nil
}

// written says what there is to see in what goes to one file over several writes.
func (p *tracee) written(name, args, result string, data []byte) (found []string) {
	if unreadable.MatchString(args) {
		found = append(found, "bytes that strace cannot read")
	}
	file := descriptor(args)
	s := p.streams[file]
	if s == nil {
		s = p.trace.matcher.Stream()
		p.streams[file] = s
	}
	// Of a write that was cut short, the rest comes again.
	if n, err := strconv.Atoi(result); err == nil && name != "sendmmsg" && n < len(data) {
		data = data[:n]
	}
	return append(found, s.Write(data)...)
}

// mapped says whether memory is shared with a file or with other processes, and
// writable. What is mapped to be read only can be made writable later if its
// file was opened so.
func (p *tracee) mapped(args string) []string {
	_, shared, ok := strings.Cut(args, "MAP_SHARED")
	if !ok {
		return nil
	}
	file, writable := descriptor(shared), strings.Contains(args, "PROT_WRITE")
	switch {
	case file == "/secretmem": // memfd_secret: nobody else can map it, or read it
	case file == "" && writable:
		return []string{"memory shared with children"}
	case (writable || p.writable[file]) && !p.trace.mayShare(file):
		return []string{"writable memory shared with " + file}
	}
	return nil
}

var (
	unreadable = regexp.MustCompile(`iov_base=0x|msg_iov=0x|^\d+[^,]*, 0x`)
	inetArg    = regexp.MustCompile(`sin6?_port=htons\((\d+)\)[^"]*"([^"]*)"`)
	unixArg    = regexp.MustCompile(`sun_path=(@?)"([^"]*)"`)
)

// quoted are the bytes of all strings among the arguments, in order; nothing
// separates them, as nothing separates the parts of a vector. It fails if
// strace has left some out.
func quoted(args string) (out []byte, err error) {
	for {
		_, rest, ok := strings.Cut(args, `"`)
		if !ok {
			return out, nil
		}
		var text string
		text, args, ok = strings.Cut(rest, `"`)
		b, err := unhex(text)
		switch {
		case !ok || err != nil:
			return nil, errors.New("a string is not in the expected form")
		case strings.HasPrefix(args, "..."):
			return nil, errors.New("strace has cut a string short")
		}
		out = append(out, b...)
	}
}

// first is the first string among the arguments.
func first(args string) string {
	if parts := strings.SplitN(args, `"`, 3); len(parts) == 3 {
		return plain(parts[1])
	}
	return ""
}

// descriptor is what the first file descriptor in text stands for: a path,
// "socket:[INODE]", "pipe:[INODE]".
func descriptor(text string) string {
	for {
		before, after, ok := strings.Cut(text, `<\x`)
		if !ok {
			return ""
		}
		if before != "" && '0' <= before[len(before)-1] && before[len(before)-1] <= '9' {
			return plain(`\x` + after[:strings.IndexAny(after+">", "<>")])
		}
		text = after // AT_FDCWD<…>
	}
}

// place is where a call acts, for people.
func place(args string) string {
	if d := descriptor(args); d != "" {
		return d
	}
	return first(args)
}

// address is where a call with a socket address goes, "" if it has none that
// leads anywhere.
func address(args string) string {
	if !strings.Contains(args, "sa_family=") {
		return ""
	}
	if m := inetArg.FindStringSubmatch(args); m != nil {
		return net.JoinHostPort(plain(m[2]), m[1])
	}
	if m := unixArg.FindStringSubmatch(args); m != nil {
		return m[1] + plain(m[2])
	}
	return ""
}

// unhex decodes \x61\x62\x63.
func unhex(s string) ([]byte, error) { return hex.DecodeString(strings.ReplaceAll(s, `\x`, "")) }

// plain is unhex for names.
func plain(s string) string {
	b, err := unhex(s)
	if err != nil {
		return s
	}
	return string(b)
}
