package api

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The rules for where a secret may be delivered. The server holds secrets to
// them, the workspace daemon holds the server to them, and the CLI tells early.

const (
	MaxEnvName  = 256  // bytes
	MaxFilePath = 4096 // bytes
	maxFileName = 255  // bytes, of one part of a path: NAME_MAX
)

// reservedEnv are the variables that change how programs run or whom they trust,
// or that a shell, a session or Latchkey sets itself. A trailing * stands for
// any rest.
var reservedEnv = []string{
	"PATH", "HOME", "SHELL", "USER", "LOGNAME", "PWD", "OLDPWD", "LANG", "LANGUAGE", "TERM", "HOSTNAME",
	"TMPDIR", "TMP", "TEMP", "EDITOR", "VISUAL", "PAGER", "MAIL", "DISPLAY", "WAYLAND_DISPLAY",
	"IFS", "CDPATH", "ENV", "BASH_ENV", "BASHOPTS", "SHELLOPTS", "BASH_FUNC_*", "PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS4",
	"ZDOTDIR", "FPATH", "GLOBIGNORE", "UID", "EUID", "PPID", "TZ",
	"LC_*", "LD_*", "DYLD_*", "GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH", "MALLOC_*", "RES_OPTIONS", "HOSTALIASES",
	"GIT_*", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_ORIGINAL_COMMAND", "SUDO_*",
	"NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT",
	"PERL5OPT", "PERL5LIB", "PERLLIB", "PERL5DB", "RUBYOPT", "RUBYLIB", "LUA_PATH", "LUA_CPATH", "LUA_INIT",
	"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "GODEBUG", "GOFLAGS", "CARGO_BUILD_RUSTC", "RUSTC_WRAPPER",
	"MAKEFLAGS", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "OPENSSL_CONF", "OPENSSL_MODULES",
	"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CACHE_HOME", "XDG_STATE_HOME",
	"DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "CREDENTIALS_DIRECTORY",
	"LATCHKEY_*", "CODER_*", "VSCODE_PROXY_URI",
}

// CheckEnvName refuses what can't be the environment variable of a secret:
// other than [A-Za-z_][A-Za-z0-9_]* of at most 256 bytes, and, in any case,
// names that are reserved, by us or by further patterns such as "CI_*".
func CheckEnvName(name string, further ...string) error {
	switch {
	case name == "":
		return fmt.Errorf("is empty")
	case len(name) > MaxEnvName:
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(name), MaxEnvName)
	}
	for i := range len(name) {
		c := name[i]
		letter := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("must be letters, digits and _, and not begin with a digit")
		}
	}
	upper := strings.ToUpper(name)
	for _, pattern := range append(slices.Clip(reservedEnv), further...) {
		pattern = strings.ToUpper(pattern)
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		if upper == pattern || isPrefix && strings.HasPrefix(upper, prefix) {
			return fmt.Errorf("%s is reserved, as it would change how programs run", name)
		}
	}
	return nil
}

// reservedFiles decide who may log in, what a shell or a session runs, or whom
// programs trust. A trailing / stands for all that is below.
var reservedFiles = []string{
	"~/.bashrc", "~/.bash_profile", "~/.bash_login", "~/.bash_logout", "~/.bash_aliases", "~/.profile", "~/.inputrc",
	"~/.zshrc", "~/.zshenv", "~/.zprofile", "~/.zlogin", "~/.zlogout", "~/.zsh/", "~/.kshrc", "~/.mkshrc", "~/.shrc",
	"~/.cshrc", "~/.tcshrc", "~/.login", "~/.logout", "~/.config/fish/", "~/.config/nushell/", "~/.xonshrc",
	"~/.ssh/authorized_keys", "~/.ssh/authorized_keys2", "~/.ssh/rc", "~/.ssh/environment", "~/.ssh/config", "~/.ssh/known_hosts",
	"~/.rhosts", "~/.shosts", "~/.k5login", "~/.k5users", "~/.pam_environment", "~/.forward", "~/.procmailrc",
	"~/.xsession", "~/.xsessionrc", "~/.xprofile", "~/.xinitrc", "~/.xserverrc", "~/.config/autostart/",
	"~/.config/environment.d/", "~/.config/systemd/", "~/.local/share/systemd/", "~/.gdbinit", "~/.pythonrc", "~/.envrc",
	"~/.vimrc", "~/.vim/", "~/.gvimrc", "~/.exrc", "~/.nvimrc", "~/.config/nvim/", "~/.emacs", "~/.emacs.d/", "~/.config/emacs/", "~/.nanorc",
	"~/.tmux.conf", "~/.config/tmux/", "~/.screenrc", "~/.irbrc", "~/.pryrc", "~/.psqlrc", "~/.sqliterc", "~/.pdbrc", "~/.ipython/", "~/.Rprofile",
	"~/.oh-my-zsh/", "~/.bashrc.d/", "~/.bash_completion", "~/.config/direnv/", "~/.config/starship.toml", "~/.lesskey", "~/.lessfilter", "~/.mailcap",
	"~/.gnupg/gpg.conf", "~/.gnupg/gpg-agent.conf", "~/.gradle/init.gradle", "~/.gradle/init.d/", "~/.cargo/config", "~/.cargo/config.toml", "~/.cargo/bin/", "~/go/bin/",
	"~/.gitconfig", "~/.config/git/config", "~/.config/git/hooks/", "~/.local/bin/", "~/bin/", "~/.config/latchkey/", "~/.local/state/latchkey/",
	"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/usr/", "/boot/", "/dev/", "/proc/", "/sys/",
	"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d/", "/etc/doas.conf", "/etc/pam.d/", "/etc/security/",
	"/etc/ssh/", "/etc/profile", "/etc/profile.d/", "/etc/bash.bashrc", "/etc/bashrc", "/etc/zsh/", "/etc/zshenv", "/etc/zshrc", "/etc/zprofile", "/etc/fish/",
	"/etc/environment", "/etc/environment.d/", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d/", "/etc/ld.so.cache",
	"/etc/crontab", "/etc/cron.d/", "/etc/cron.hourly/", "/etc/cron.daily/", "/etc/cron.weekly/", "/etc/cron.monthly/", "/etc/anacrontab",
	"/etc/systemd/", "/etc/init.d/", "/etc/rc.local", "/etc/inittab", "/etc/udev/", "/etc/modprobe.d/", "/etc/hosts.equiv", "/etc/shells",
	"/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/gitconfig", "/etc/ssl/certs/", "/etc/ca-certificates/",
	"/var/spool/cron/", "/run/systemd/",
}

// CheckFilePath refuses what can't be the file of a secret: a path that does
// not begin with "~/" or "/", is over 4096 bytes, has a part that is empty,
// "." or ".." or over 255 bytes, has a NUL or another control character or is
// not UTF-8, and the files that are reserved.
func CheckFilePath(p string) error {
	rest, home := strings.CutPrefix(p, "~/")
	if !home {
		var absolute bool
		if rest, absolute = strings.CutPrefix(p, "/"); !absolute {
			return fmt.Errorf(`must begin with "~/" or "/"`)
		}
	}
	switch {
	case len(p) > MaxFilePath:
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(p), MaxFilePath)
	case !utf8.ValidString(p):
		return fmt.Errorf("is not valid UTF-8")
	case strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("holds a control character")
	case rest == "" || strings.HasSuffix(rest, "/"):
		return fmt.Errorf("names a directory, not a file")
	}
	for part := range strings.SplitSeq(rest, "/") {
		switch {
		case part == "":
			return fmt.Errorf(`holds "//"`)
		case part == "." || part == "..":
			return fmt.Errorf("holds %q as a part, which is not allowed", part)
		case len(part) > maxFileName:
			return fmt.Errorf("has a part of %d bytes; at most %d are allowed", len(part), maxFileName)
		}
	}
	if pattern := reservedFile(p); pattern != "" {
		return fmt.Errorf("is reserved (%s): what decides who may log in, or what programs run, is no secret's file", pattern)
	}
	return nil
}

// reservedFile is the pattern that reserves a path, "" if none does. A path that
// may not be replaced by a file is reserved with all that lies below it, and with
// what leads to it.
//
// A file of a home directory is reserved in everybody's, as an absolute path may
// lead to another user's; and in any case, as some file systems tell none.
func reservedFile(p string) string {
	if name := gitFile(p); name != "" {
		return name
	}
	folded := strings.ToLower(p)
	for _, pattern := range reservedFiles {
		name := strings.TrimSuffix(pattern, "/")
		if below(p, name) || below(name, p) {
			return pattern
		}
		if rest, ofHome := strings.CutPrefix(strings.ToLower(name), "~/"); ofHome {
			if i := strings.Index(folded+"/", "/"+rest+"/"); i >= 0 && (rest[0] == '.' || i < 2) {
				return pattern
			}
		}
	}
	return ""
}

// below reports whether a path is another one, or lies below it.
func below(p, dir string) bool {
	return p == dir || len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/'
}

// gitFile is what of a path is a git repository's that git runs, or reads what to
// run from.
func gitFile(p string) string {
	_, inside, found := strings.Cut(strings.ToLower(p)+"/", "/.git/")
	for _, name := range []string{"hooks", "config", "config.worktree"} {
		if found && (inside == "" || strings.HasPrefix(inside, name+"/")) {
			return ".git/" + name
		}
	}
	return ""
}

// HomePath is an absolute path as a secret's path has it, "~/…" if it lies
// below the home directory.
func HomePath(p, home string) string {
	if home = path.Clean(home); home != "/" && home != "." {
		if rest, below := strings.CutPrefix(p, home+"/"); below && rest != "" {
			return "~/" + rest
		}
	}
	return p
}
