// Demo runs Latchkey's main job for real in a temporary directory, shows each
// command as a user would type it with what it printed, and then looks for the
// private key in every file that was written meanwhile.
//
//	go run ./test/demo DIRECTORY-OF-THE-PROGRAMS
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo DIRECTORY-OF-THE-PROGRAMS")
		os.Exit(2)
	}
	if err := demo(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo: error:", err)
		os.Exit(1)
	}
}

func demo(bin string) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	began := time.Now()
	s, err := newStage(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.clear()) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		s.clear()
		os.Exit(1)
	}()

	if err := play(s); err != nil {
		return err
	}
	return prove(s, began)
}

var loginLine = regexp.MustCompile(`(?m)^\s*(echo lk_s_\S+ \| latchkey login \S+)\s*$`)

// play is the story, from an empty directory to a fetch.
func play(s *stage) error {
	admin, err := s.shell("admin")
	if err != nil {
		return err
	}
	ada, err := s.shell("ada")
	if err != nil {
		return err
	}

	s.say("A key server starts. Its first start makes the first admin.")
	admin.run("latchkeyd serve --listen 127.0.0.1:0 >server.log 2>&1 &")
	line, err := admin.await("server.log", loginLine)
	if err != nil {
		return err
	}
	admin.run(line)

	s.say("The admin makes a user. Her key pair is made with her, on the server.")
	line, err = find(loginLine, admin.run("latchkey user create ada"))
	if err != nil {
		return err
	}
	ada.run(line)

	s.say("Ada gives her public key to the forge: " + s.forgeKind() + ".")
	ada.run("latchkey publickey")
	ada.run("latchkey publickey >> ../forge/authorized_keys")
	if err := s.startForge(); err != nil {
		return err
	}

	s.say("A workspace of hers: its daemon is an ssh-agent that holds no key yet.")
	ada.run("latchkey workspace create demo --token-file workspace.token")
	ada.run("latchkey agent --url " + urlIn(line) + " --token-file workspace.token 2>agent.log &")
	if _, err := ada.await("agent.log", regexp.MustCompile(`(agent\.sock)`)); err != nil {
		return err
	}
	ada.run(`eval "$(latchkey env)"`)
	ada.run("ssh-add -L")
	// ssh looks for its configuration in the home of the account, not in
	// $HOME; this one knows the forge's host key.
	ada.run(`export GIT_SSH_COMMAND="$GIT_SSH_COMMAND -F $HOME/ssh_config"`)

	s.say("And now git, as ever.")
	ada.run("git clone forge:app.git")
	ada.run("cd app && echo hello > README && git add README && git commit -q -m 'say hello' && git push")
	ada.run("git fetch --verbose && git log --oneline origin/main")
	ada.run("cd .. && latchkey status")

	s.say("A secret is stored once, and is in the workspace a moment later: a variable of what is run there, and a file.")
	ada.run(`printf %s "t0ken" | latchkey secret create registry --env REGISTRY_TOKEN --file ~/.registry/token`)
	ada.run(`until [ -e ~/.registry/token ]; do sleep 0.01; done; ls -l ~/.registry`)
	ada.run(`latchkey run -- sh -c 'echo "a variable of ${#REGISTRY_TOKEN} bytes"'`)
	ada.run("latchkey secret status")
	ada.run(`latchkey secret delete registry -y && until [ ! -e ~/.registry ]; do sleep 0.01; done`)

	s.say("The server has recorded each time the key, or the secret, was fetched.")
	admin.run("latchkeyd audit tail")
	return errors.Join(admin.err, ada.err)
}

func find(re *regexp.Regexp, text string) (string, error) {
	m := re.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("no line like %s was printed", re)
	}
	return m[1], nil
}

func urlIn(line string) string { return line[strings.LastIndex(line, " ")+1:] }
