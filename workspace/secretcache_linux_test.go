package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// memoryTempDir is a directory in memory until the test ends.
func memoryTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "lk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if ok, err := isInMemory(dir); err != nil || !ok {
		t.Fatalf("/dev/shm is not in memory: %v", err)
	}
	return dir
}

func testCredentials(t *testing.T, url string) *Credentials {
	t.Helper()
	c, err := LoadCredentials(CredentialsConfig{URL: url, Token: []byte(api.NewToken(api.WorkspaceToken)), Getenv: getenv()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustCache(t *testing.T, dir string, age time.Duration, c *Credentials) *secretCache {
	t.Helper()
	cache, err := newSecretCache(dir, age, c)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestSecretCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, credentials := memoryTempDir(t), testCredentials(t, "https://keys.example")
		cache := mustCache(t, dir, time.Hour, credentials)
		if s, err := cache.load(); s != nil || err != nil {
			t.Errorf("with nothing cached load = %v, %v; want nothing", s, err)
		}
		given, err := json.Marshal(api.WorkspaceSecrets{Revision: 7, Secrets: []api.DeliveredSecret{secret("a", "A", "~/a", "hunter2hunter2")}})
		if err != nil {
			t.Fatal(err)
		}
		save := func() []byte {
			t.Helper()
			if err := cache.save(given); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(cache.path)
			if err != nil {
				t.Fatal(err)
			}
			return file
		}
		file := save()
		if info, err := os.Stat(cache.path); err != nil || info.Mode() != 0o600 {
			t.Errorf("the cache file is %v, %v; want mode 0600", info.Mode(), err)
		}
		if bytes.Contains(file, []byte("hunter2")) || bytes.Contains(file, []byte("revision")) || bytes.Equal(file, save()) {
			t.Error("the cache file is readable, or the same twice")
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("beside the cache are %v; want nothing", files)
		}
		time.Sleep(time.Hour)
		s, err := mustCache(t, dir, time.Hour, credentials).load()
		if err != nil || s.revision != 7 || string(s.value(s.secrets[0])) != "hunter2hunter2" || time.Since(s.at) != time.Hour {
			t.Fatalf("after an hour load = %+v, %v; want what was saved", s, err)
		}
		s.close()

		file = save()
		for _, tt := range []struct {
			name  string
			cache *secretCache
			wait  time.Duration // less than 0: the clock is set back
			flip  int           // a bit of this byte, if not 0
			cut   int
			want  string
		}{
			{name: "too old", cache: cache, wait: time.Hour + time.Second, want: "1h0m0s is the most"},
			{name: "another token", cache: mustCache(t, dir, time.Hour, testCredentials(t, "https://keys.example")), want: "of another token or server"},
			{name: "another server", cache: &secretCache{path: cache.path, age: time.Hour, token: credentials.token, url: "https://keys.example:8443"}, want: "of another token or server"},
			{name: "another version", cache: cache, flip: len(cacheMagic) - 1, want: "not a cache of this version"},
			{name: "salt", cache: cache, flip: len(cacheMagic), want: "it was changed"},
			{name: "nonce", cache: cache, flip: len(cacheMagic) + cacheSalt, want: "it was changed"},
			{name: "time", cache: cache, flip: len(cacheMagic) + cacheSalt + 12 + 7, want: "it was changed"},
			{name: "last byte", cache: cache, flip: len(file) - 1, want: "it was changed"},
			{name: "cut", cache: cache, cut: 1, want: "it was changed"},
			{name: "cut short", cache: cache, cut: len(file) - len(cacheMagic) - 3, want: "not a cache of this version"},
			{name: "empty", cache: cache, cut: len(file), want: "not a cache of this version"},
		} {
			now := bytes.Clone(save())
			if tt.flip > 0 {
				now[tt.flip] ^= 4
			}
			if err := os.WriteFile(cache.path, now[:len(now)-tt.cut], 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(tt.wait)
			s, err := tt.cache.load()
			if s != nil || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: load = %v, %v; want an error that says %q", tt.name, s, err, tt.want)
			}
			if _, err := os.Stat(cache.path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the file is still there: %v", tt.name, err)
			}
		}
	})
}

// Each bit of the file counts.
func TestSecretCacheFlippedBits(t *testing.T) {
	cache := mustCache(t, memoryTempDir(t), time.Hour, testCredentials(t, "https://keys.example"))
	if err := cache.save([]byte(`{"revision":7}`)); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(cache.path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(file) * 8 {
		flipped := bytes.Clone(file)
		flipped[bit/8] ^= 1 << (bit % 8)
		if s, err := cache.open(flipped); err == nil {
			t.Fatalf("with bit %d flipped the cache opens, as %+v", bit, s)
		}
	}
	if _, err := cache.open(file); err != nil {
		t.Errorf("as it was it does not open: %v", err)
	}
}

func TestSecretCacheFromTheFuture(t *testing.T) {
	dir, credentials := memoryTempDir(t), testCredentials(t, "https://keys.example")
	synctest.Test(t, func(t *testing.T) { // begins in the year 2000
		time.Sleep(clockSkew + time.Second)
		if err := mustCache(t, dir, time.Hour, credentials).save([]byte(`{"revision":7}`)); err != nil {
			t.Fatal(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		cache := mustCache(t, dir, time.Hour, credentials)
		file, err := os.ReadFile(cache.path)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := cache.load(); s != nil || err == nil || !strings.Contains(err.Error(), "in the future") {
			t.Errorf("load = %v, %v; want that it is of the future", s, err)
		}
		time.Sleep(2 * time.Second)
		if s, err := cache.open(file); err != nil || s.revision != 7 {
			t.Errorf("with a clock that is %v slow: %v, %v; want what was saved", clockSkew-time.Second, s, err)
		}
	})
}

func TestSecretCacheOnADisk(t *testing.T) {
	credentials := testCredentials(t, "https://keys.example")
	for _, dir := range []string{"/proc/self", t.TempDir()} {
		if ok, err := isInMemory(dir); err != nil || ok {
			continue // this machine's temporary directory is in memory: /proc is not
		}
		_, err := newSecretCache(dir, time.Hour, credentials)
		var problem *Problem
		if !errors.As(err, &problem) || !strings.Contains(err.Error(), dir) || !strings.Contains(problem.Hint, "LATCHKEY_RUNTIME_DIR") {
			t.Errorf("a cache in %s: %v; want a problem that says what to do", dir, err)
		}
	}
}

func TestSecretCacheSwitchedOff(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, cacheName), "of an earlier daemon", 0o600)
	if c := mustCache(t, dir, 0, testCredentials(t, "https://keys.example")); c != nil {
		t.Error("there is a cache; want none")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of an earlier daemon is still there: %v", err)
	}
}

// What a daemon that was killed has left half written is removed by the next one,
// with a cache and without.
func TestSecretCacheLeavesNoTemporaryFile(t *testing.T) {
	for _, age := range []time.Duration{0, time.Hour} {
		dir := memoryTempDir(t)
		path := write(t, tempOf(filepath.Join(dir, cacheName)), "half of a cache", 0o600)
		mustCache(t, dir, age, testCredentials(t, "https://keys.example"))
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with an age of %v the temporary file is still there: %v", age, err)
		}
	}
}

// A daemon that starts while the server is away has what the one before had.
func TestSecretsFromTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, credentials := memoryTempDir(t), testCredentials(t, "https://keys.example")
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		life := func() *syncTest {
			st := newSyncTest(t, server)
			st.cache = mustCache(t, dir, time.Hour, credentials)
			return st
		}
		first := life()
		end := first.begin()
		// As long as the server is there, what is cached does not grow old.
		first.pass(24 * time.Hour)
		if n, _, _ := server.counts(); n < 24 || n > 50 {
			t.Errorf("in a day there were %d fetches; want two an hour", n)
		}
		server.give(secret("a", "A", "~/a", "two"))
		first.pass(time.Second)
		end()
		first.want("after the end", "", "", "there are no secrets yet")

		server.become(func() { server.err = api.ErrUnavailable })
		second := life()
		end = second.begin()
		second.want("from the cache", "A=two", "~/a=two", "the key server is away since ")
		if sum := second.summary(); sum.CachedAt == nil || sum.CacheSeconds != 3600 {
			t.Errorf("the summary is %+v; want a cache of an hour", sum)
		}
		server.become(func() { server.err = nil })
		second.pass(time.Minute)
		second.want("confirmed", "A=two", "~/a=two", "")
		server.become(func() { server.err = api.ErrUnauthenticated })
		second.pass(time.Second)
		second.want("revoked", "", "", "refuses this workspace")
		end()

		server.become(func() { server.err = api.ErrUnavailable })
		third := life()
		end = third.begin()
		third.want("after a revocation", "", "", "there are no secrets yet")
		end()
	})
}
