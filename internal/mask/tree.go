package mask

import "bytes"

// A tree holds patterns by their common beginnings. A node is a piece of
// pattern, so there are two for a pattern at most, however long it is: a table
// of states for each byte of 64 KiB values in a dozen forms would not fit.
type tree struct {
	nodes []node
	root  [256]int32 // the node that begins with a byte; 0: none
}

type node struct {
	piece   []byte
	pattern int // that ends here; -1: none
	next    []int32
}

func newTree() tree {
	return tree{nodes: []node{{pattern: -1}}} // the one that stands for none
}

// insert adds a pattern, which it keeps. It reports whether it was not there.
func (t *tree) insert(pattern []byte, number int) bool {
	rest := pattern
	link := &t.root[rest[0]]
	for {
		if *link == 0 {
			t.nodes = append(t.nodes, node{piece: rest, pattern: number})
			*link = int32(len(t.nodes) - 1)
			return true
		}
		at := *link
		n := commonPrefix(t.nodes[at].piece, rest)
		if n < len(t.nodes[at].piece) {
			t.split(at, n)
		}
		rest = rest[n:]
		if len(rest) == 0 {
			fresh := t.nodes[at].pattern < 0
			if fresh {
				t.nodes[at].pattern = number
			}
			return fresh
		}
		i := t.find(at, rest[0])
		if i < 0 {
			t.nodes[at].next = append(t.nodes[at].next, int32(len(t.nodes)))
			t.nodes = append(t.nodes, node{piece: rest, pattern: number})
			return true
		}
		link = &t.nodes[at].next[i]
	}
}

// split cuts a node behind n bytes of its piece.
func (t *tree) split(at int32, n int) {
	tail := t.nodes[at]
	tail.piece = tail.piece[n:]
	t.nodes = append(t.nodes, tail)
	t.nodes[at] = node{piece: t.nodes[at].piece[:n], pattern: -1, next: []int32{int32(len(t.nodes) - 1)}}
}

// find is the index among the nodes behind one of that which begins with b; -1:
// there is none.
func (t *tree) find(at int32, b byte) int {
	for i, next := range t.nodes[at].next {
		if t.nodes[next].piece[0] == b {
			return i
		}
	}
	return -1
}

// beginnings calls f with the beginning of every pattern: its first Min bytes,
// and perhaps more.
func (t *tree) beginnings(f func([]byte)) {
	var below func(at int32, before []byte)
	below = func(at int32, before []byte) {
		n := &t.nodes[at]
		all := append(bytes.Clone(before), n.piece[:min(len(n.piece), Min)]...)
		if len(all) >= Min {
			f(all) // what is below has the same beginning
			return
		}
		for _, next := range n.next {
			below(next, all)
		}
	}
	for _, at := range t.root {
		if at != 0 {
			below(at, nil)
		}
	}
}

// A walk is the comparison of the text at one place with the tree. It goes on
// where it was when there is more text.
type walk struct {
	node   int32 // -1: before the first byte
	within int   // bytes of the node's piece that were seen
	seen   int   // bytes of the text
	ended  bool  // no longer pattern can match

	pattern, length int // the longest pattern that matched; -1: none
}

func (t *tree) walk() walk { return walk{node: -1, pattern: -1} }

// advance compares further. text is all that there is from the walk's place on.
func (t *tree) advance(w *walk, text []byte) {
	for !w.ended && w.seen < len(text) {
		if w.node < 0 {
			if w.node = t.root[text[0]]; w.node == 0 {
				w.ended = true
				return
			}
		}
		n := &t.nodes[w.node]
		if w.within == len(n.piece) {
			i := t.find(w.node, text[w.seen])
			if i < 0 {
				w.ended = true
				return
			}
			w.node, w.within = n.next[i], 0
			continue
		}
		piece := n.piece[w.within:]
		same := commonPrefix(piece, text[w.seen:])
		w.within += same
		w.seen += same
		switch {
		case same == len(piece):
			if n.pattern >= 0 {
				w.pattern, w.length = n.pattern, w.seen
			}
			w.ended = len(n.next) == 0
		case w.seen < len(text):
			w.ended = true
		}
	}
}

// commonPrefix counts the bytes in which a and b begin alike. It compares
// blocks: what is alike is often long.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	const block = 256
	i := 0
	for i+block <= n && bytes.Equal(a[i:i+block], b[i:i+block]) {
		i += block
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
