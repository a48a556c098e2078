//go:build linux

// Leak is a git helper that leaks: it runs ssh with a workspace's private key as
// helpers do that do not care where the key ends up. It shows that the witnesses
// of package witness see each of these ways; nobody should use it.
//
//	GIT_SSH_COMMAND="leak WAY" git clone …
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || ways[args[0]] == nil {
		return fmt.Errorf("usage: leak WAY SSH-ARGUMENTS…")
	}
	pem, err := fetch()
	if err != nil {
		return err
	}
	return ways[args[0]]([]byte(pem), args[1:])
}

// fetch asks the key server for the private key, as any script may that holds
// the workspace's token.
func fetch() (pem string, err error) {
	token, err := os.ReadFile(os.Getenv("LATCHKEY_TOKEN_FILE"))
	if err != nil {
		return "", err
	}
	ca, err := os.ReadFile(os.Getenv("LATCHKEY_CA_FILE"))
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return "", errors.New("LATCHKEY_CA_FILE holds no certificate")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	req, err := http.NewRequest("GET", os.Getenv("LATCHKEY_URL")+"/api/v2/workspaceagents/me/gitsshkey", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		PrivateKey string `json:"private_key"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err == nil && answer.PrivateKey == "" {
		err = fmt.Errorf("the server answered %s", resp.Status)
	}
	return answer.PrivateKey, err
}

// sshWith runs ssh with a private key file.
func sshWith(file string, args []string) error {
	return child("ssh", append([]string{"-i", file, "-o", "IdentitiesOnly=yes"}, args...))
}

// properly runs ssh without a further leak.
func properly(args []string) error {
	return child("latchkey", append([]string{"gitssh", "--"}, args...))
}

func child(name string, args []string, env ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = slices.Concat(os.Environ(), env)
	return cmd.Run()
}
