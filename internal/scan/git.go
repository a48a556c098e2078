package scan

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// errNoRepository is what workTree ends with outside of a git work tree.
var errNoRepository = errors.New("not in a git work tree")

// git makes a command of git in a directory. Nothing that the user's settings
// say about how to show things changes what it prints.
func git(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.quotePath=false", "-c", "color.ui=never"}, args...)...)
}

// output runs a command of git, whose own words are its error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, gitError(err, &said)
	}
	return out, nil
}

func gitError(err error, said *bytes.Buffer) error {
	text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
	if text == "" {
		return fmt.Errorf("running git: %w", err)
	}
	return errors.New("git: " + text)
}

// workTree lists the files that git tracks below a directory, or would track.
func workTree(ctx context.Context, dir string) ([]string, error) {
	inside, err := output(git(ctx, dir, "rev-parse", "--is-inside-work-tree"))
	if errors.Is(err, exec.ErrNotFound) || err == nil && strings.TrimSpace(string(inside)) != "true" {
		return nil, errNoRepository
	}
	if err != nil {
		if strings.Contains(err.Error(), "not a git repository") {
			return nil, errNoRepository
		}
		return nil, err
	}
	out, err := output(git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"))
	if err != nil {
		return nil, err
	}
	return fields(out), nil
}

// Staged walks what the next commit would bring into the repository of a
// directory: the index against the last commit.
func (w Walk) Staged(ctx context.Context, dir string) error {
	// Elsewhere git diff is another command, with an error about that.
	if _, err := output(git(ctx, dir, "rev-parse", "--git-dir")); err != nil {
		return err
	}
	out, err := output(git(ctx, dir, "diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--diff-filter=ACMT"))
	if err != nil {
		return err
	}
	blobs, err := parseRaw(fields(out))
	if err != nil {
		return err
	}
	return w.objects(ctx, dir, blobs)
}

// Range walks what the commits of a range, such as "main..HEAD", have brought:
// their files and their messages. Each content is looked into once, as the first
// of them brought it.
func (w Walk) Range(ctx context.Context, dir, revisions string) error {
	commits, err := output(git(ctx, dir, "rev-list", "--reverse", "--end-of-options", revisions, "--"))
	if err != nil {
		return err
	}
	// -m: a merge may bring what neither of its parents has.
	cmd := git(ctx, dir, "diff-tree", "--stdin", "--root", "-m", "-r", "-z", "--no-renames", "--no-abbrev", "--diff-filter=ACMT")
	cmd.Stdin = bytes.NewReader(commits)
	out, err := output(cmd)
	if err != nil {
		return err
	}
	blobs, err := parseRaw(fields(out))
	if err != nil {
		return err
	}
	var all []object
	for _, c := range strings.Fields(string(commits)) {
		all = append(all, object{id: c, commit: c, path: "(the commit itself)"})
	}
	return w.objects(ctx, dir, append(all, blobs...))
}

// An object is a blob or a commit of git.
type object struct{ id, commit, path string }

const gitlink = "160000" // the mode of a submodule

// parseRaw reads git's raw format with -z (git-diff-tree(1)): ":MODE MODE ID ID
// STATUS", then the path; and, from diff-tree --stdin, the commits in between.
func parseRaw(words []string) (objects []object, err error) {
	commit := ""
	for len(words) > 0 {
		head := words[0]
		words = words[1:]
		if !strings.HasPrefix(head, ":") {
			commit, _, _ = strings.Cut(strings.TrimSpace(head), " ")
			continue
		}
		parts := strings.Fields(head)
		if len(parts) != 5 || len(words) == 0 {
			return nil, errors.New("git printed a list that is not understood")
		}
		if parts[1] != gitlink {
			objects = append(objects, object{id: parts[3], commit: commit, path: words[0]})
		}
		words = words[1:]
	}
	return objects, nil
}

// objects looks into objects, each once, through one git.
func (w Walk) objects(ctx context.Context, dir string, objects []object) error {
	if len(objects) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := git(ctx, dir, "cat-file", "--batch")
	var said bytes.Buffer
	cmd.Stderr = &said
	ask, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	answer, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	r, seen := bufio.NewReader(answer), map[string]bool{}
	for _, o := range objects {
		if seen[o.id] {
			continue
		}
		seen[o.id] = true
		if err = w.object(ask, r, o); err != nil {
			break
		}
	}
	ask.Close()
	if err != nil {
		cancel()
	}
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = gitError(werr, &said)
	}
	return err
}

// object asks for one object: "ID TYPE SIZE", then its content and a newline.
func (w Walk) object(ask io.Writer, answer *bufio.Reader, o object) error {
	if _, err := fmt.Fprintln(ask, o.id); err != nil {
		return fmt.Errorf("asking git: %w", err)
	}
	head, err := answer.ReadString('\n')
	if err != nil {
		return fmt.Errorf("reading from git: %w", err)
	}
	parts := strings.Fields(head)
	if len(parts) != 3 {
		w.Skip(Skipped{o.path, "git does not have its content"})
		return nil
	}
	size, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return errors.New("git printed an object that is not understood")
	}
	if size > maxFile {
		w.Skip(Skipped{o.path, tooLarge})
		_, err := io.CopyN(io.Discard, answer, size+1)
		return err
	}
	content := make([]byte, size+1)
	if _, err := io.ReadFull(answer, content); err != nil {
		return fmt.Errorf("reading from git: %w", err)
	}
	return w.Add(File{Name: o.path, Commit: o.commit, Content: content[:size]})
}

// fields splits what git has printed with -z.
func fields(out []byte) []string {
	text := strings.TrimSuffix(string(out), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}
