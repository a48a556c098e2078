package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unitDirectory is where systemd would find the units that docs/systemd has, the
// drop-in for --sshd if wanted, and a program where they say.
func unitDirectory(t *testing.T, sshd bool) string {
	t.Helper()
	dir := t.TempDir()
	copies := map[string]string{"latchkey-agent.socket": "latchkey-agent.socket", "latchkey-agent.service": "latchkey-agent.service"}
	if sshd {
		copies["latchkey-agent-sshd.conf"] = "latchkey-agent.service.d/sshd.conf"
	}
	for from, to := range copies {
		text := bytes.ReplaceAll(unitFile(t, from), []byte("/usr/local/bin/latchkey"), []byte(program(t, "latchkey")))
		path := filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, text, 0o644)
	}
	return dir
}

func unitFile(t *testing.T, name string) []byte {
	t.Helper()
	return mustRead(t, filepath.Join("..", "docs", "systemd", name))
}

// analyze runs systemd-analyze for units of a user.
func analyze(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(need(t, "systemd-analyze"), append([]string{"--user"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// systemd finds no fault with the units, with and without SSH.
func TestSystemdUnits(t *testing.T) {
	verify := func(dir string) (string, bool) {
		out, err := analyze(t, dir, "verify", filepath.Join(dir, "latchkey-agent.socket"), filepath.Join(dir, "latchkey-agent.service"))
		return out, err == nil && !bytes.Contains([]byte(out), []byte("latchkey"))
	}
	for _, sshd := range []bool{false, true} {
		if out, ok := verify(unitDirectory(t, sshd)); !ok {
			t.Errorf("systemd-analyze verify, with the drop-in for SSH: %t\n%s", sshd, out)
		}
	}
	// It reads the drop-in, or this shows nothing.
	dir := unitDirectory(t, true)
	writeFile(t, filepath.Join(dir, "latchkey-agent.service.d", "sshd.conf"), []byte("[Service]\nKillMod=process\n"), 0o644)
	if out, ok := verify(dir); ok {
		t.Errorf("systemd-analyze verify finds no fault with a drop-in that has one\n%s", out)
	}
}

// So it is with the server's.
func TestSystemdUnitOfTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkeyd.service")
	verify := func(text []byte) (string, bool) {
		writeFile(t, path, text, 0o644)
		out, err := exec.Command(need(t, "systemd-analyze"), "verify", path).CombinedOutput()
		return string(out), err == nil && !bytes.Contains(out, []byte("latchkey"))
	}
	text := bytes.ReplaceAll(unitFile(t, "latchkeyd.service"), []byte("/usr/local/bin/latchkeyd"), []byte(program(t, "latchkeyd")))
	if out, ok := verify(text); !ok {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	if out, ok := verify(append(text, "[Service]\nKillMod=process\n"...)); ok {
		t.Errorf("systemd-analyze verify finds no fault with a unit that has one\n%s", out)
	}
}

// What the documentation has typed puts all files where systemd, and the unit, look
// for them, also where there is no ~/.config yet.
func TestSystemdInstallation(t *testing.T) {
	_, section, _ := strings.Cut(string(mustRead(t, "../docs/operating.md")), "\n### The workspace daemon\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var typed strings.Builder
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		typed.WriteString(m[1])
	}
	home, from := t.TempDir(), t.TempDir()
	for _, name := range []string{"latchkey-agent.socket", "latchkey-agent.service", "latchkey-agent-sshd.conf"} {
		writeFile(t, filepath.Join(from, name), unitFile(t, name), 0o644)
	}
	writeFile(t, filepath.Join(from, "box.token"), []byte("token\n"), 0o644)
	for _, name := range []string{"systemctl", "loginctl"} {
		writeFile(t, filepath.Join(home, name), []byte("#!/bin/sh\n"), 0o755)
	}
	cmd := exec.Command("sh", "-ec", typed.String())
	cmd.Dir, cmd.Env = from, []string{"HOME=" + home, "PATH=" + home + ":" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\nof\n%s", err, out, typed.String())
	}
	for name, mode := range map[string]os.FileMode{
		"systemd/user/latchkey-agent.socket": 0o644, "systemd/user/latchkey-agent.service": 0o644, "systemd/user/latchkey-agent.service.d/sshd.conf": 0o644,
		"environment.d/latchkey.conf": 0o644, "latchkey": os.ModeDir | 0o700, "latchkey/workspace.token": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(home, ".config", name)); err != nil || info.Mode() != mode && mode != 0o644 {
			t.Errorf("~/.config/%s: %v, %v; want it there, with the mode %v", name, info, err, mode)
		}
	}
}

// What a session runs inherits nothing that the unit gives up for the daemon.
func TestSystemdUnitForSSH(t *testing.T) {
	confined := func(dir string) string {
		out, err := analyze(t, dir, "security", "--offline=true", "--json=short", filepath.Join(dir, "latchkey-agent.service"))
		if err != nil {
			t.Errorf("systemd-analyze security: %v\n%s", err, out)
		}
		return out
	}
	bare := t.TempDir()
	writeFile(t, filepath.Join(bare, "latchkey-agent.service"), []byte("[Service]\nExecStart="+program(t, "latchkey")+" agent\n"), 0o644)
	none := confined(bare)
	if got := confined(unitDirectory(t, false)); got == none {
		t.Error("the unit confines nothing by what systemd-analyze security says, so this test shows nothing")
	}
	if got := confined(unitDirectory(t, true)); got != none {
		t.Errorf("with the drop-in for SSH systemd-analyze security says\n%s\nwant what it says of a unit that confines nothing:\n%s", got, none)
	}
	// What is not about security: limits, and what the daemon would take along.
	assigned := regexp.MustCompile(`(?m)^([A-Za-z]+)=`)
	names := func(file string) (all []string) {
		for _, m := range assigned.FindAllSubmatch(unitFile(t, file), -1) {
			all = append(all, string(m[1]))
		}
		return all
	}
	ofTheDaemon := []string{"Description", "Documentation", "Requires", "Type", "ExecStart", "LoadCredential", "Environment", "Restart", "WantedBy", "Also"}
	inDropIn := names("latchkey-agent-sshd.conf")
	// The command is the unit's: a second one would undo what is changed there.
	if slices.Contains(inDropIn, "ExecStart") || !slices.Contains(inDropIn, "Environment") {
		t.Errorf("the drop-in for SSH sets %q; want the flags of the unit's command, and no command", inDropIn)
	}
	for _, file := range []string{"latchkey-agent.service", "latchkey-agent-sshd.conf"} {
		if !regexp.MustCompile(`(?m)^Environment="?LATCHKEY_AGENT_FLAGS=`).Match(unitFile(t, file)) {
			t.Errorf("%s does not set the flags of the daemon", file)
		}
	}
	if !regexp.MustCompile(`(?m)^ExecStart=\S+ agent \$LATCHKEY_AGENT_FLAGS$`).Match(unitFile(t, "latchkey-agent.service")) {
		t.Error("the unit's command has not the flags that the drop-in for SSH sets")
	}
	for _, name := range append(names("latchkey-agent.service"), "KillMode", "OOMPolicy") {
		if !slices.Contains(ofTheDaemon, name) && !slices.Contains(inDropIn, name) {
			t.Errorf("the unit sets %s=, which sessions inherit; the drop-in for SSH does not say what they get", name)
		}
	}
}
