package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/mask"
	"github.com/latchkey/latchkey/workspace"
)

const (
	settleTime    = 300 * time.Millisecond // after a change, for those that belong to it
	maxSettling   = 10                     // of those
	daemonRetry   = time.Second            // after the daemon could not be asked
	maxDaemonWait = 30 * time.Second
)

// supervise runs CMD as a child.
func (r *runner) supervise(ctx context.Context, vars []workspace.Variable) error {
	s := newSupervisor(r.path, r.words)
	s.env = r.environ(vars)
	s.warn = r.warn
	if r.mask {
		hidden, err := r.hidden(ctx)
		if err != nil {
			return &statusError{err, exitRun}
		}
		s.mask = newMasking(s, r.maskSet(nil, hidden))
		defer s.mask.close()
		r.program = &program{r.stdin, r.stdout, s.mask.messages()}
		s.warn = r.warn
		if s.mask.pty() {
			if err := s.behindMonitor(); err != nil {
				return &statusError{err, exitRun}
			}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	if r.watch {
		watching.Go(func() { r.watchSecrets(ctx, s, vars) })
	}
	status, err := s.run()
	cancel()
	watching.Wait()
	if err != nil {
		return notRun(r.words[0], err, s.env, vars)
	}
	if s.mask != nil && s.mask.failed != nil && status.Exited() && status.ExitStatus() == 0 {
		return &statusError{outputError(s.mask.failed), exitRun}
	}
	return &endedError{status}
}

// hidden are the values to hide: all that this workspace has, also those of files,
// and those that CMD is not given. It may have them from elsewhere.
func (r *runner) hidden(ctx context.Context) ([]workspace.Variable, error) {
	if r.given.daemon == "" {
		return r.given.Variables, nil // without a daemon there are no files
	}
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	files, err := workspace.FileValues(ctx, r.given.daemon)
	if err != nil {
		return nil, explainWorkspace(err)
	}
	return append(slices.Clone(r.given.Variables), files...), nil
}

// maskSet is what to hide: the values of now, and those of before, which the
// program may still hold.
func (r *runner) maskSet(before []mask.Value, vars []workspace.Variable) *maskValues {
	m := &maskValues{values: before}
	var fresh []string
	for _, v := range vars {
		value := mask.Value{Name: cmp.Or(v.Name, v.Secret), Bytes: v.Value}
		if !slices.ContainsFunc(m.values, func(old mask.Value) bool { return old.Name == value.Name && string(old.Bytes) == string(value.Bytes) }) {
			m.values = append(m.values, value)
			fresh = append(fresh, value.Name)
		}
	}
	m.set = mask.New(m.values)
	short := slices.DeleteFunc(slices.Clone(m.set.Short()), func(name string) bool { return !slices.Contains(fresh, name) })
	if len(short) > 0 {
		r.message("warning", fmt.Sprintf("%s %s not hidden: a value below %d bytes is found everywhere", strings.Join(short, ", "), isAre(len(short)), mask.Min))
	}
	return m
}

// watchSecrets tells the supervisor of changes of what CMD is given.
func (r *runner) watchSecrets(ctx context.Context, s *supervisor, vars []workspace.Variable) {
	generation, notice := r.given.Generation, r.given.Notice
	wait := daemonRetry
	for {
		state, err := r.settled(ctx, generation)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if wait == daemonRetry {
				r.warn(fmt.Errorf("changes of secrets are not seen: %w", err))
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			wait = min(2*wait, maxDaemonWait)
			continue
		}
		wait = daemonRetry
		generation = state.Generation
		if state.Notice != "" && state.Notice != notice {
			r.message("warning", state.Notice)
		}
		notice = state.Notice
		if !state.Known {
			continue // CMD keeps what it has
		}
		before := r.given.filesOnly(r.only)
		r.given.SecretState = state
		if s.mask != nil { // what CMD is not given is hidden too
			hidden, err := r.hidden(ctx)
			if err != nil {
				r.warn(fmt.Errorf("new values of files are not hidden: %w", err))
				hidden = r.given.Variables
			}
			s.mask.use(r.maskSet(s.mask.values(), hidden))
		}
		next := r.given.stillOnly(r.only)
		same := slices.EqualFunc(next, vars, func(a, b workspace.Variable) bool { return a.Name == b.Name && string(a.Value) == string(b.Value) })
		if same && slices.Equal(before, r.given.filesOnly(r.only)) {
			continue
		}
		vars = next
		s.changed(r.environ(vars), r.signal)
	}
}

// settled waits for another generation, and then until no further one comes: who
// changes one secret often changes several.
func (r *runner) settled(ctx context.Context, generation int64) (workspace.SecretState, error) {
	state, err := workspace.WaitSecrets(ctx, r.given.daemon, generation)
	for i := 0; err == nil && i < maxSettling; i++ {
		brief, cancel := context.WithTimeout(ctx, settleTime)
		next, nextErr := workspace.WaitSecrets(brief, r.given.daemon, state.Generation)
		cancel()
		if nextErr != nil {
			if errors.Is(nextErr, context.DeadlineExceeded) || errors.Is(nextErr, os.ErrDeadlineExceeded) {
				return state, nil
			}
			return state, ctx.Err() // what is known is good, the rest is for the next time
		}
		state = next
	}
	return state, err
}

// filesOnly are the files of those secrets that are among the names; without
// names, all.
func (g given) filesOnly(names []string) []workspace.SecretFile {
	if len(names) == 0 {
		return g.Files
	}
	return slices.DeleteFunc(slices.Clone(g.Files), func(f workspace.SecretFile) bool { return !slices.Contains(names, f.Secret) })
}

// stillOnly is only, without those that are gone.
func (g given) stillOnly(names []string) []workspace.Variable {
	if len(names) == 0 {
		return g.Variables
	}
	return slices.DeleteFunc(slices.Clone(g.Variables), func(v workspace.Variable) bool {
		return !slices.Contains(names, v.Name) && !slices.Contains(names, v.Secret)
	})
}
