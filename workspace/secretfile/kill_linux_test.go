package secretfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

const victimEnv = "SECRETFILE_TEST_VICTIM"

// A victim delivers the same files in several places in a process of its own,
// gets to the same step in all of them, and is killed there.
type victim struct {
	Configs []Config
	Files   []File
	Step    int // from 1
}

func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) != "" {
		os.Exit(die())
	}
	os.Exit(m.Run())
}

// die does what a victim shall, and dies of SIGKILL, or ends with 0 if it has
// no step with that number.
func die() int {
	var v victim
	if err := json.NewDecoder(os.Stdin).Decode(&v); err != nil {
		panic(err)
	}
	name := ""
	for _, config := range v.Configs {
		reached, left := make(chan string), v.Step
		go func() {
			f, err := open(config, func(name string) {
				if left--; left == 0 {
					reached <- name
					select {}
				}
			})
			if err != nil {
				panic(err)
			}
			f.Deliver(v.Files)
			reached <- ""
		}()
		name = <-reached
	}
	if name != "" {
		fmt.Println(name)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return 0
}

// run reports at which step a victim was killed, "" if it came to its end.
func (v victim) run(t *testing.T) string {
	t.Helper()
	order, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"=1")
	cmd.Stdin = bytes.NewReader(order)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return ""
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("a process that is to be killed: %v\n%s", err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

const small = "one"

var (
	big = strings.Repeat("two", 100<<10)
	old = []File{
		file("STAYS", "~/stays", "stays"), file("CHANGES", "~/a/changes", small),
		file("MOVES", "~/b/c/from", "moves"), file("GOES", "~/goes", big),
	}
	next = []File{
		file("STAYS", "~/stays", "stays"), file("CHANGES", "~/a/changes", big),
		file("MOVES", "~/d/e/to", "moves"), file("COMES", "~/comes", small), file("FOUND", "~/found", "found"),
	}
)

// A past is what there was before the process that is killed, and how that one
// delivers.
type past struct {
	name          string
	files         []File
	was, inMemory bool // links to files in memory
}

// However far a process came before it was killed, the next one leaves what
// was asked for and nothing else, and no reader sees a file that is not whole.
func TestKilled(t *testing.T) {
	for _, from := range []past{
		{"nothing", nil, false, false},
		{"nothing, in memory", nil, true, true},
		{"older files", old, false, false},
		{"older files, in memory", old, true, true},
		{"files become links", old, false, true},
		{"links become files", old, true, false},
	} {
		t.Run(from.name, func(t *testing.T) {
			t.Parallel()
			var steps []string
			for n := 1; !t.Failed(); n++ {
				step := killedAt(t, from, n)
				if step == "" {
					break
				}
				steps = append(steps, step)
			}
			t.Logf("killed at %d steps: %s", len(steps), strings.Join(steps, ", "))
			if len(steps) < 12 {
				t.Errorf("there were %d steps only", len(steps))
			}
		})
	}
}

// killedAt kills a process at a step, lets others go on in three ways, and
// returns the step's name.
func killedAt(t *testing.T, from past, n int) string {
	var aftermaths []*aftermath
	v := victim{Files: next, Step: n}
	for _, then := range [][]File{next, old, nil} {
		a := &aftermath{newFastSite(t), memoryDir(t), then, fmt.Sprintf("killed at step %d, then %d files", n, len(then))}
		aftermaths = append(aftermaths, a)
		a.deliverIn(from.was)
		f := a.open()
		f.Deliver(from.files)
		f.Close()
		a.write("~/found", "found", 0o600)
		a.deliverIn(from.inMemory)
		v.Configs = append(v.Configs, a.config)
	}
	step := v.run(t)
	for _, a := range aftermaths {
		a.when += " (" + step + ")"
		a.check(t)
	}
	return step
}

// An aftermath is a site that a killed process has left.
type aftermath struct {
	*site
	memory string
	then   []File
	when   string
}

func (a *aftermath) deliverIn(memory bool) {
	a.config.MemoryDir = ""
	if memory {
		a.config.MemoryDir = a.memory
	}
}

func (a *aftermath) check(t *testing.T) {
	for _, p := range []string{"~/stays", "~/a/changes", "~/b/c/from", "~/goes", "~/d/e/to", "~/comes"} {
		if data, err := os.ReadFile(a.path(p)); err == nil && !slices.Contains([]string{"stays", "moves", small, big}, string(data)) {
			t.Errorf("%s: %s holds %d bytes, which are no content of it", a.when, p, len(data))
		}
	}
	f := a.open()
	defer f.Close()
	noTemps(t, a.site, a.when)
	for _, r := range f.Deliver(a.then) {
		onDisk := r.Path == "~/found" && a.config.MemoryDir != "" && r.State == api.Blocked
		if r.State != api.Delivered && !onDisk {
			t.Errorf("%s: %+v", a.when, r)
		}
	}
	for _, file := range a.then {
		a.want(file.Path, string(file.Content))
	}
	mine := 1 // the file that was there before, and stays
	if len(a.then) == len(next) {
		mine = 0 // it is counted
	}
	a.want("~/found", "found")
	if len(files(t, a.home)) != len(a.then)+mine {
		t.Errorf("%s: the home directory holds\n\t%s", a.when, strings.Join(tree(t, a.home), "\n\t"))
	}
	wantStates(t, f.Remove())
	if rest := tree(t, a.home); len(rest) != 1 {
		t.Errorf("%s, then none: the home directory holds\n\t%s", a.when, strings.Join(rest, "\n\t"))
	}
	if _, err := os.Stat(a.memory); err == nil {
		wantTree(t, a.memory, nil)
	}
}

// files are those below a directory that are none themselves.
func files(t *testing.T, dir string) (all []string) {
	for _, line := range tree(t, dir) {
		if !strings.Contains(line, " d") {
			all = append(all, line)
		}
	}
	return all
}

func noTemps(t *testing.T, s *site, when string) {
	t.Helper()
	for _, d := range []string{s.home, s.config.MemoryDir} {
		if d == "" {
			continue
		}
		for _, line := range tree(t, d) {
			if strings.Contains(filepath.Base(strings.Fields(line)[0]), tempPrefix) {
				t.Errorf("%s: there is a temporary file: %.80s", when, line)
			}
		}
	}
}
