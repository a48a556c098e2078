package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckEnvName(t *testing.T) {
	longest := strings.Repeat("A", MaxEnvName)
	for _, name := range []string{"A", "_", "a_1", "API_KEY", "_9", "PATHS", "GIT", "MY_PATH", "LDX", "HTTP_PROXY", longest} {
		if err := CheckEnvName(name); err != nil {
			t.Errorf("CheckEnvName(%q) = %v; want it taken", name, err)
		}
	}
	for _, name := range []string{
		"", longest + "A", "9", "1A", "A-B", "A B", "A=B", "A.B", "Ä", "A\x00", "A\n", "\xff",
		"PATH", "path", "Path", "LD_PRELOAD", "ld_preload", "DYLD_X", "GIT_SSH_COMMAND", "LC_ALL", "LATCHKEY_TOKEN",
		"IFS", "ENV", "BASH_ENV", "BASH_FUNC_x", "NODE_OPTIONS", "PYTHONPATH", "SSH_AUTH_SOCK", "SSH_ASKPASS", "HOME", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS", "PROMPT_COMMAND",
	} {
		if CheckEnvName(name) == nil {
			t.Errorf("CheckEnvName(%q) takes it; want it refused", name)
		}
	}
	if CheckEnvName("CI_TOKEN", "ci_*") == nil || CheckEnvName("EXACT", "exact") == nil {
		t.Error("a further pattern does not reserve a name")
	}
	if err := CheckEnvName("EXACTLY", "exact"); err != nil {
		t.Errorf("a further name without * reserves others: %v", err)
	}
}

func TestCheckFilePath(t *testing.T) {
	part := strings.Repeat("p", maxFileName)
	longest := "~/" + strings.Repeat("abcdefg/", (MaxFilePath-2)/8) // ends in a slash
	longest = longest + strings.Repeat("x", MaxFilePath-len(longest))
	for _, p := range []string{
		"~/a", "/a", "~/.config/tool/config.json", "/run/user/1000/token", "~/ä b", "~/..a", "~/a..b/...", "~/" + part, longest,
		"~/.netrc", "~/.ssh/id_ed25519", "~/.ssh/known", "~/.bashrc2", "~/.bashr", "/etc/tool/token", "/home/u/.npmrc", "~/-x", "~/~",
		"~/work/go/bin/tool.key", "~/work/bin/x", "~/.npmrc", "~/.aws/credentials", "~/.kube/config", "~/.docker/config.json", "~/.gitea/token", "~/work/.gitlab/hooks/x",
	} {
		if err := CheckFilePath(p); err != nil {
			t.Errorf("CheckFilePath(%.40q…, %d bytes) = %v; want it taken", p, len(p), err)
		}
	}
	for _, p := range []string{
		"", "a", "./a", "~", "~/", "/", "~u/a", "~//a", "~/a//b", "~/a/", "~/./a", "~/a/.", "~/../a", "~/a/../b", "/..", "~/a/..",
		"~/a\x00", "~/a\nb", "~/\x7f", "~/a\u0085b", "~/\xff", "~/" + part + "p", longest + "x", `\a`, "C:/a",
		"~/.bashrc", "~/.bashrc/x", "~/.ssh", "~/.ssh/authorized_keys", "~/.ssh/rc", "~/.config", "~/.config/fish/conf.d/x.fish", "~/.config/systemd/user/x.service",
		"/etc", "/etc/passwd", "/etc/profile.d/x.sh", "/proc/self/mem", "/dev/shm/x", "/usr/local/bin/x", "/bin/sh", "~/.local/state/latchkey/files.json",
		"/home/alice/.ssh/authorized_keys", "/root/.bashrc", "/home/alice/.config/systemd/user/x", "~/.SSH/authorized_keys", "~/.BashRC",
		"~/.vimrc", "~/.tmux.conf", "~/.config/nvim/init.lua", "~/.cargo/bin/ls", "~/go/bin/x", "~/bin/x", "~/work/.git/hooks/pre-commit", "/srv/app/.git/config", "~/.git",
	} {
		if CheckFilePath(p) == nil {
			t.Errorf("CheckFilePath(%.40q…, %d bytes) takes it; want it refused", p, len(p))
		}
	}
}

func TestHomePath(t *testing.T) {
	for _, c := range []struct{ path, home, want string }{
		{"/home/u/a/b", "/home/u", "~/a/b"},
		{"/home/u/a", "/home/u/", "~/a"},
		{"/home/user/a", "/home/u", "/home/user/a"},
		{"/home/u", "/home/u", "/home/u"},
		{"/home/u/", "/home/u", "/home/u/"},
		{"/a", "/", "/a"},
		{"/a", "", "/a"},
		{"~/a", "/home/u", "~/a"},
	} {
		if got := HomePath(c.path, c.home); got != c.want {
			t.Errorf("HomePath(%q, %q) = %q; want %q", c.path, c.home, got, c.want)
		}
	}
}

// A path that is taken leads from where it begins to a file below, by names
// alone, and error texts never break a line.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"~/a", "/x/../y", "~/.bashrc", "API_KEY", "ld_x", "~/\x00", "~/a\r\nb", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := CheckEnvName(s); err == nil {
			if s == "" || strings.ContainsAny(s, "=\x00 \n-") || '0' <= s[0] && s[0] <= '9' || strings.HasPrefix(strings.ToUpper(s), "LD_") {
				t.Errorf("CheckEnvName takes %q", s)
			}
		} else if strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("the error for a name breaks the line: %q", err)
		}
		err := CheckFilePath(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("the error for a path breaks the line: %q", err)
			}
			return
		}
		rest, home := strings.CutPrefix(s, "~/")
		if !home {
			rest = strings.TrimPrefix(s, "/")
		}
		for _, part := range strings.Split(rest, "/") {
			if part == "" || part == "." || part == ".." || len(part) > 255 {
				t.Errorf("CheckFilePath takes %q", s)
			}
		}
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\n\r\x1b") || len(s) > 4096 {
			t.Errorf("CheckFilePath takes %q", s)
		}
	})
}

// What goes in comes out, through JSON, and nothing else does.
func FuzzSecretValue(f *testing.F) {
	for _, s := range []string{"", "text", "\x00", "\xff", "\u2028<&>\"\\", "ä", "\xed\xa0\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []SecretValue{NewSecretValue(b), {ValueBase64: append([]byte{}, b...)}} {
			text, err := json.Marshal(CreateSecretRequest{Name: "n", SecretValue: v})
			if err != nil {
				t.Fatal(err)
			}
			var back CreateSecretRequest
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if got, ok := back.Bytes(); !ok || !bytes.Equal(got, b) {
				t.Errorf("%q comes back as %q (%t), by way of %s", b, got, ok, text)
			}
		}
	})
}

func TestSecretValueIsOneOfTwo(t *testing.T) {
	text := "x"
	for _, v := range []SecretValue{{}, {Value: &text, ValueBase64: []byte{}}, {Value: &text, ValueBase64: []byte("x")}} {
		if b, ok := v.Bytes(); ok {
			t.Errorf("%+v has the value %q; want none", v, b)
		}
	}
}
