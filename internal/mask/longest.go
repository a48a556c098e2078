package mask

// Longest is the length of the longest form, in bytes: who looks at a text piece
// by piece must see as much at a time.
func (s *Set) Longest() int {
	n := 0
	s.tree.each(func(form []byte) { n = max(n, len(form)) })
	return n
}
