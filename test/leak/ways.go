//go:build linux

package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// ways are the ways to leak. Each gets the private key as OpenSSH PEM and ssh's
// arguments.
var ways = map[string]func(key []byte, args []string) error{
	// What a helper without an agent does: a file for ssh -i, removed afterwards.
	"file": func(key []byte, args []string) error { return throughFile(os.TempDir(), key, args) },

	// The same "in memory".
	"shm": func(key []byte, args []string) error { return throughFile("/dev/shm", key, args) },

	// A file that never has a name.
	"unnamed": func(key []byte, args []string) error {
		fd, err := unix.Open(os.TempDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		return throughDescriptor(fd, key, args)
	},

	"memfd": func(key []byte, args []string) error {
		fd, err := unix.MemfdCreate("key", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		if err := unix.Fchmod(fd, 0o600); err != nil {
			return err
		}
		return throughDescriptor(fd, key, args)
	},

	// No system call ever carries the key.
	"map": throughMap,

	"environment": func(key []byte, args []string) error {
		return child("latchkey", append([]string{"gitssh", "--"}, args...), "SSH_PRIVATE_KEY="+string(key))
	},

	"argument": func(key []byte, args []string) error {
		if err := child("true", []string{"--key=" + string(key)}); err != nil {
			return err
		}
		return properly(args)
	},

	"datagram": func(key []byte, args []string) error {
		c, err := net.Dial("udp", "127.0.0.1:9") // discard, RFC 863
		if err != nil {
			return err
		}
		defer c.Close()
		c.Write(key) // nobody needs to be there
		return properly(args)
	},

	"base64": encoded(func(b []byte) string { return base64.URLEncoding.EncodeToString(append([]byte("{"), b...)) }),
	"hex":    encoded(func(b []byte) string { return fmt.Sprintf("% X", b) }),
	"reversed": encoded(func(b []byte) string {
		b = slices.Clone(b)
		slices.Reverse(b)
		return string(b)
	}),
	"reversed-hex": encoded(func(b []byte) string {
		b = slices.Clone(b)
		slices.Reverse(b)
		return hex.EncodeToString(b)
	}),
}

func throughFile(dir string, key []byte, args []string) error {
	f, err := os.CreateTemp(dir, "key") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(key); err != nil {
		return err
	}
	return sshWith(f.Name(), args)
}

func throughDescriptor(fd int, key []byte, args []string) error {
	defer unix.Close(fd)
	if _, err := unix.Write(fd, key); err != nil {
		return err
	}
	return sshWith(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), args)
}

func throughMap(key []byte, args []string) error {
	f, err := os.CreateTemp("", "key")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(key))); err != nil {
		return err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, len(key), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(mem, key)
	if err := unix.Munmap(mem); err != nil {
		return err
	}
	return sshWith(f.Name(), args) // and leaves the file there
}

// encoded leaves the key in a file, its bytes written in another way.
func encoded(encode func([]byte) string) func(key []byte, args []string) error {
	return func(key []byte, args []string) error {
		block, _ := pem.Decode(key)
		if block == nil {
			return errors.New("the server's answer is no PEM")
		}
		if err := os.WriteFile(filepath.Join(os.TempDir(), "cache"), []byte(encode(block.Bytes)), 0o600); err != nil {
			return err
		}
		return properly(args)
	}
}
