package secretfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

const rounds = 1000

// values are contents of different sizes that tell themselves whole.
func values() (all []string) {
	for i := range 26 {
		all = append(all, strings.Repeat(string(rune('a'+i)), 1+i*7919))
	}
	return all
}

// An arena is a place where a file is written while others swap all that leads
// to it with links to the outside.
type arena struct {
	*site
	target     string // the path of the file
	canaries   []string
	r, d, home dir // directories on the way, whatever they are called now
	stop       chan struct{}
	running    sync.WaitGroup
}

func newArena(t *testing.T) *arena {
	a := &arena{site: newFastSite(t), stop: make(chan struct{})}
	a.target = a.path("~/r/d/secret")
	must(t, os.MkdirAll(a.path("~/r/d"), 0o700))
	// What a led write would hit, from each directory: there is something by
	// each name but "free".
	for _, d := range []string{"", "d"} {
		for _, name := range []string{"secret", "slink", tempName(a.target), tempName(a.path("~/r/d/free"))} {
			a.write(filepath.Join(a.outside, d, name), "canary", 0o600)
		}
	}
	must(t, os.Symlink(a.outside, a.path("~/rlink")))
	must(t, os.Symlink(a.outside, a.path("~/r/dlink")))
	for _, open := range []struct {
		d *dir
		p string
	}{{&a.home, "~/"}, {&a.r, "~/r"}, {&a.d, "~/r/d"}} {
		var err error
		*open.d, err = root(a.path(open.p))
		must(t, err)
		t.Cleanup(open.d.close)
	}
	a.canaries = a.stamps()
	return a
}

// stamps tell all there is outside, when it was written, and where.
func (a *arena) stamps() (all []string) {
	for _, line := range tree(a.t, a.outside) {
		all = append(all, line+" "+inode(a.t, filepath.Join(a.outside, strings.SplitN(line, " ", 2)[0])))
	}
	return all
}

func (a *arena) hit() bool { return !slices.Equal(a.stamps(), a.canaries) }

// start lets one attacker, or reader, run over and over until stop.
func (a *arena) start(once func()) {
	a.running.Go(func() {
		for {
			select {
			case <-a.stop:
				return
			default:
				once()
			}
		}
	})
}

// attack swaps directories, the target and temporary files with links. It works
// from the directories themselves, so that it can't hit the outside itself.
func (a *arena) attack() {
	exchange := func(at dir, x, y string) {
		unix.Renameat2(at.fd, x, at.fd, y, unix.RENAME_EXCHANGE)
	}
	a.start(func() { exchange(a.r, "d", "dlink"); exchange(a.r, "d", "dlink") })
	a.start(func() { exchange(a.home, "r", "rlink"); exchange(a.home, "r", "rlink") })
	a.start(func() {
		unix.Unlinkat(a.d.fd, "slink", 0)
		unix.Symlinkat(filepath.Join(a.outside, "secret"), a.d.fd, "slink")
		exchange(a.d, "secret", "slink")
		exchange(a.d, "secret", "slink")
	})
	a.start(func() {
		for _, temp := range []string{tempName(a.target), tempName(a.path("~/r/d/free"))} {
			unix.Symlinkat(filepath.Join(a.outside, "secret"), a.d.fd, temp)
			unix.Unlinkat(a.d.fd, temp, 0)
			unix.Symlinkat(filepath.Join(a.outside, "secret"), a.d.fd, "tlink")
			exchange(a.d, temp, "tlink")
			unix.Unlinkat(a.d.fd, "tlink", 0)
		}
		unix.Symlinkat(filepath.Join(a.outside, "free"), a.d.fd, "free")
		unix.Unlinkat(a.d.fd, "free", 0)
	})
}

// read reads the target, which is whole whenever it is there.
func (a *arena) read(whole []string) {
	a.start(func() {
		fd, err := unix.Openat(a.d.fd, "secret", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		file := os.NewFile(uintptr(fd), "secret")
		defer file.Close()
		if data, err := io.ReadAll(file); err != nil || !slices.Contains(whole, string(data)) {
			a.t.Errorf("a reader saw a file of %d bytes, %.10q…, %v: none that was delivered", len(data), data, err)
		}
	})
}

func (a *arena) end() {
	close(a.stop)
	a.running.Wait()
}

// However fast everything is swapped with links, nothing is written outside.
func TestRace(t *testing.T) {
	for _, walk := range []bool{false, true} {
		for _, inMemory := range []bool{false, true} {
			t.Run(fmt.Sprintf("walk=%v,memory=%v", walk, inMemory), func(t *testing.T) {
				a := newArena(t)
				a.walk = walk
				if inMemory {
					a.inMemory()
				}
				f := a.open()
				all := values()
				a.attack()
				if !inMemory {
					a.read(all)
				}
				states := map[api.DeliveryState]int{}
				for i := range rounds {
					value := all[i%len(all)]
					files := []File{file("S", "~/r/d/secret", value), file("F", "~/r/d/free", value)}
					for _, r := range f.Deliver(files[:1+i%2]) {
						states[r.State]++
					}
					if i%100 == 0 && a.hit() {
						break
					}
				}
				a.end()
				t.Logf("in %d rounds: %v", rounds, states)
				if states[api.Delivered] == 0 || len(states) == 1 {
					t.Errorf("the states are %v: this tests nothing", states)
				}
				if a.hit() {
					t.Errorf("the outside was hit:\n\t%s\nwas\n\t%s", strings.Join(a.stamps(), "\n\t"), strings.Join(a.canaries, "\n\t"))
				}

				// In peace again, it delivers, and removes what it knows.
				for _, name := range []string{"secret", "free", "slink", "tlink"} {
					if err := unix.Unlinkat(a.d.fd, name, 0); err != nil && err != unix.ENOENT {
						t.Fatal(err)
					}
				}
				wantStates(t, f.Deliver([]File{file("S", "~/r/d/secret", "peace")}), api.Delivered)
				a.want(a.target, "peace")
				wantStates(t, f.Remove())
				if rest := tree(t, a.path("~/r/d")); len(rest) > 0 {
					t.Errorf("when all is removed there is %q", rest)
				}
			})
		}
	}
}

// The race is one that a writer loses who takes paths for what they were.
func TestRaceCatches(t *testing.T) {
	for name, write := range map[string]func(a *arena, content string) error{
		"in place": func(a *arena, content string) error { return os.WriteFile(a.target, []byte(content), 0o600) },
		"checked": func(a *arena, content string) error {
			if real, err := filepath.EvalSymlinks(filepath.Dir(a.target)); err != nil || real != filepath.Dir(a.target) {
				return err
			}
			temp := filepath.Join(filepath.Dir(a.target), tempName(a.target))
			if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
				return err
			}
			return os.Rename(temp, a.target)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			a.attack()
			defer a.end()
			for i := range 1000 * rounds {
				write(a, "led astray") // it fails as often as not
				if i%10 == 0 && a.hit() {
					return
				}
			}
			t.Error("a writer that follows links hit nothing outside: the race catches nothing")
		})
	}
}

// A reader sees one value or the next, whole, and never none.
func TestReaders(t *testing.T) {
	for _, inMemory := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory=%v", inMemory), func(t *testing.T) {
			a := newArena(t)
			if inMemory {
				a.inMemory()
			}
			f := a.open()
			all := values()
			wantStates(t, f.Deliver([]File{file("S", "~/r/d/secret", all[0])}), api.Delivered)
			for range 2 {
				a.start(func() {
					if data, err := os.ReadFile(a.target); err != nil || !slices.Contains(all, string(data)) {
						t.Errorf("a reader saw %d bytes, %v", len(data), err)
					}
				})
			}
			for i := range rounds / 4 {
				wantStates(t, f.Deliver([]File{file("S", "~/r/d/secret", all[i%len(all)])}), api.Delivered)
			}
			a.end()
		})
	}
}
