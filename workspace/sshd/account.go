package sshd

import (
	"bufio"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// An Account is the user of the operating system whose programs run.
type Account struct {
	Name  string
	Home  string // a directory
	Shell string // an absolute path
}

// OwnAccount is the account that this process runs under. The name and the shell
// are those of /etc/passwd; a shell that lets nobody in, as service accounts
// have, counts for none, and $SHELL or /bin/sh takes its place: whoever started
// this process could run programs. $HOME comes before what /etc/passwd says, for
// a container may have set it.
func OwnAccount(getenv func(string) string) Account {
	entry := passwdEntry(os.Geteuid())
	a := Account{Name: entry.Name, Home: "/", Shell: "/bin/sh"}
	for _, home := range []string{getenv("HOME"), entry.Home} {
		if info, err := os.Stat(home); filepath.IsAbs(home) && err == nil && info.IsDir() {
			a.Home = filepath.Clean(home)
			break
		}
	}
	for _, shell := range []string{entry.Shell, getenv("SHELL")} {
		if isShell(shell) {
			a.Shell = shell
			break
		}
	}
	return a
}

// isShell reports whether a program can be run, and is none of those that only
// say no.
func isShell(path string) bool {
	switch filepath.Base(path) {
	case "nologin", "false", "true", "sync":
		return false
	}
	info, err := os.Stat(path)
	return err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// passwdEntry is what the system knows of a user. Without a line in /etc/passwd
// (LDAP, or a container that runs under any number) the shell is unknown.
func passwdEntry(uid int) Account {
	if f, err := os.Open("/etc/passwd"); err == nil {
		defer f.Close()
		if a, ok := findPasswd(f, uid); ok {
			return a
		}
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return Account{Name: u.Username, Home: u.HomeDir}
	}
	return Account{Name: strconv.Itoa(uid)}
}

// findPasswd looks for a user in a file as passwd(5) has it.
func findPasswd(r io.Reader, uid int) (Account, bool) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) == 7 && fields[2] == strconv.Itoa(uid) {
			return Account{Name: fields[0], Home: fields[5], Shell: fields[6]}, true
		}
	}
	return Account{}, false
}
