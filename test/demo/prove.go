package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// prove looks for ada's private key in all files written since the demo began.
func prove(s *stage, began time.Time) error {
	s.say("Is the private key in any file? The demo asks the server for it, in memory, and looks.")
	seed, public, err := adasKey(s)
	if err != nil {
		return err
	}
	secret, control := forms(seed), [][]byte{[]byte(public)}
	var files, withControl int
	var found []string
	for _, root := range []string{"/", "/dev/shm", "/run", "/tmp", s.dir} {
		err := written(root, began, func(path string, content []byte) {
			files++
			if containsAny(content, secret) {
				found = append(found, path)
			}
			if containsAny(content, control) {
				withControl++
			}
		})
		if err != nil {
			return err
		}
	}
	switch {
	case len(found) > 0:
		slices.Sort(found)
		return fmt.Errorf("the private key is in %s", strings.Join(slices.Compact(found), ", "))
	case withControl == 0:
		return errors.New("not even the public key was found, so the search proves nothing")
	}
	fmt.Printf("%d files were written meanwhile. The private key is in none of them: not as bytes,\n", files)
	fmt.Printf("hex, base64 or in OpenSSH's form. (The public key, which may be, is in %d.)\n", withControl)
	return nil
}

var serverURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// adasKey asks the server as a workspace may.
func adasKey(s *stage) (seed []byte, public string, err error) {
	log, err := os.ReadFile(filepath.Join(s.dir, "admin", "server.log"))
	if err != nil {
		return nil, "", err
	}
	token, err := os.ReadFile(filepath.Join(s.dir, "ada", "workspace.token"))
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", string(serverURL.Find(log))+"/api/v2/workspaceagents/me/gitsshkey", nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	var answer struct {
		PublicKey  string `json:"public_key"`
		PrivateKey string `json:"private_key"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, "", err
	}
	key, err := ssh.ParseRawPrivateKey([]byte(answer.PrivateKey))
	if err != nil {
		return nil, "", fmt.Errorf("the server's answer (%s): %w", resp.Status, err)
	}
	private, ok := key.(*ed25519.PrivateKey)
	if !ok {
		return nil, "", fmt.Errorf("the key is a %T, not ed25519", key)
	}
	return private.Seed(), strings.Fields(answer.PublicKey)[1], nil
}

// forms are the ways in which a file could hold the seed. An OpenSSH private
// key file is base64 in which the seed stands at one of three offsets, over
// line ends; containsAny sees through those.
func forms(seed []byte) [][]byte {
	f := [][]byte{seed, []byte(hex.EncodeToString(seed)), []byte(strings.ToUpper(hex.EncodeToString(seed)))}
	for offset := range 3 {
		b := base64.StdEncoding.EncodeToString(append(make([]byte, offset), seed...))
		// The first and last digits also hold bits of the neighbours.
		f = append(f, []byte(b[4:len(b)-4]))
	}
	return f
}

func containsAny(content []byte, forms [][]byte) bool {
	joined := bytes.ReplaceAll(content, []byte("\n"), nil)
	return slices.ContainsFunc(forms, func(f []byte) bool {
		return bytes.Contains(content, f) || bytes.Contains(joined, f)
	})
}

// written calls f for each regular file of root's file system that changed
// after a moment. What this user cannot read, this user's programs have not
// written.
func written(root string, after time.Time, f func(path string, content []byte)) error {
	info, err := os.Stat(root)
	if err != nil {
		return nil // no such file system here
	}
	device := info.Sys().(*syscall.Stat_t).Dev
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return skip(d)
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone
		}
		stat := info.Sys().(*syscall.Stat_t)
		if stat.Dev != device {
			return skip(d)
		}
		const most = 256 << 20
		if d.IsDir() || time.Unix(stat.Ctim.Unix()).Before(after.Add(-time.Second)) || info.Size() > most {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil {
			f(path, content)
		}
		return nil
	})
}

func skip(d fs.DirEntry) error {
	if d != nil && d.IsDir() {
		return fs.SkipDir
	}
	return nil
}
