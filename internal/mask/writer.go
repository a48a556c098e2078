package mask

import (
	"io"
	"sync"
)

// A Writer passes text on with "[secret NAME]" in place of values. It holds back
// what may be the beginning of a value until more text tells, and nothing else;
// no time that passes lets it through. Several goroutines may use it.
type Writer struct {
	mu   sync.Mutex
	set  *Set
	next io.Writer
	err  error // of next, for good

	text   []byte // from the first place that is not decided on
	walk   walk   // there
	begun  bool   // the walk has begun
	hidden int    // bytes of text that are part of a match before it
	out    []byte // for next
}

// Writer returns a writer that writes to w.
func (s *Set) Writer(w io.Writer) *Writer { return &Writer{set: s, next: w} }

// Write writes what is certain to be no value. It says that all was written:
// what is held back counts.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if err := w.flush(false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Use looks for the values of another set from now on.
func (w *Writer) Use(s *Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set, w.begun = s, false
}

// Close writes what was held back: no more text comes. It does not close what is
// written to.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush(true)
}

// flush decides on the text, place by place. A place is hidden if a match begins
// there or covers it, which only matches that begin before it can do: so what is
// decided never depends on how the text was cut up.
func (w *Writer) flush(last bool) error {
	i := 0
	for i < len(w.text) {
		if !w.begun {
			next := w.set.skip(w.text, i)
			w.pass(i, next)
			if i = next; i == len(w.text) {
				break
			}
			w.walk, w.begun = w.set.tree.walk(), true
		}
		w.set.tree.advance(&w.walk, w.text[i:])
		if !w.walk.ended && !last {
			break
		}
		w.begun = false
		if w.walk.pattern >= 0 {
			if w.hidden == 0 {
				w.out = append(w.out, "[secret "+w.set.names[w.walk.pattern]+"]"...)
			}
			w.hidden = max(w.hidden, w.walk.length)
		}
		w.pass(i, i+1)
		i++
	}
	w.text = w.text[:copy(w.text, w.text[i:])]
	if len(w.out) > 0 && w.err == nil {
		_, w.err = w.next.Write(w.out)
	}
	w.out = w.out[:0]
	return w.err
}

// pass passes text on, but for what is hidden.
func (w *Writer) pass(from, to int) {
	n := min(w.hidden, to-from)
	w.hidden -= n
	w.out = append(w.out, w.text[from+n:to]...)
}
