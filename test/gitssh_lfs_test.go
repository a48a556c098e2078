package test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// An lfsServer is what git-lfs transfers files to and from (its Batch API and
// "basic" transfers), once it has asked for the way over ssh.
type lfsServer struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string][]byte // by SHA-256
}

const lfsToken = "RemoteAuth of-the-forge"

func startLFS(t testing.TB) *lfsServer {
	t.Helper()
	s := &lfsServer{objects: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /lfs/objects/batch", s.batch)
	mux.HandleFunc("PUT /objects/{oid}", func(_ http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.objects[r.PathValue("oid")] = content
	})
	mux.HandleFunc("GET /objects/{oid}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Write(s.objects[r.PathValue("oid")])
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *lfsServer) batch(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != lfsToken {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	type object struct {
		OID     string         `json:"oid"`
		Size    int64          `json:"size"`
		Actions map[string]any `json:"actions,omitempty"`
	}
	var request struct {
		Operation string   `json:"operation"`
		Objects   []object `json:"objects"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i, o := range request.Objects {
		request.Objects[i].Actions = map[string]any{request.Operation: map[string]string{"href": s.URL + "/objects/" + o.OID}}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": request.Objects})
}

// git-lfs asks over ssh where its files go, with the helper that git uses.
func TestGitSSHLFS(t *testing.T) {
	need(t, "git-lfs")
	lfs := startLFS(t)
	bin := openDir(t)
	asked := filepath.Join(bin, "asked")
	// What a forge has in the place of git-lfs-authenticate; there is no
	// git-lfs-transfer, for which git-lfs asks first.
	script := "#!/bin/sh\necho \"$@\" >>" + asked + "\n" +
		`echo '{"href": "` + lfs.URL + `/lfs", "header": {"Authorization": "` + lfsToken + `"}}'` + "\n"
	writeFile(t, filepath.Join(bin, "git-lfs-authenticate"), []byte(script), 0o755)
	s := newStage(t, "SetEnv PATH="+bin+":/usr/local/bin:/usr/bin:/bin")
	s.StartDaemon(t)
	s.Run(t, "git", "lfs", "install", "--skip-repo")

	s.Run(t, "git", "clone", "-q", s.url(), "app")
	s.Run(t, "git", "-C", "app", "lfs", "track", "*.bin")
	const content = "a large file\n"
	s.Write(t, "app/large.bin", content)
	s.Run(t, "git", "-C", "app", "add", ".")
	s.Run(t, "git", "-C", "app", "commit", "-q", "-m", "large")
	s.Run(t, "git", "-C", "app", "push", "-q")
	if n := len(lfs.objects); n != 1 {
		t.Fatalf("the push brought %d files to the LFS server; want 1", n)
	}
	s.Run(t, "git", "clone", "-q", s.url(), "again")
	got, err := os.ReadFile(filepath.Join(s.Home, "again/large.bin"))
	if err != nil || string(got) != content {
		t.Errorf("the second clone's large.bin holds %q, %v; want %q", got, err, content)
	}
	questions := readFile(t, asked)
	for _, want := range []string{s.repo + " upload\n", s.repo + " download\n"} {
		if !strings.Contains(questions, want) {
			t.Errorf("the forge was asked over ssh for %q; want %q among it", questions, want)
		}
	}
	s.leavesNothing(t)
}
