package scan

import (
	"bytes"
	"iter"
)

const (
	minCandidate = 8           // bytes: the server looks for nothing shorter
	maxCandidate = 64 << 10    // of a word or a line
	maxWhole     = 1 << 20     // of a file that may be a value as a whole
	quotes       = "\"'`"      // around a string
	brackets     = "()[]{}<>"  // end a word
	separators   = "=:,;&?/@|" // may be a part of a value, and may end one
)

// candidates yields what of a file may be a secret's value: the file itself,
// its lines, its words, its quoted strings, and what stands behind a "=" or
// ":". Each comes with the number of its first line, and may come twice.
func candidates(content []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		number := 1
		give := func(b []byte, most int) bool {
			return len(b) < minCandidate || len(b) > most || yield(number, b)
		}
		whole := bytes.TrimRight(content, "\r\n")
		if !give(content, maxWhole) || len(whole) != len(content) && !give(whole, maxWhole) {
			return
		}
		for line := range bytes.SplitSeq(content, []byte("\n")) {
			for b := range inLine(line) {
				if !give(b, maxCandidate) {
					return
				}
			}
			number++
		}
	}
}

// inLine yields the candidates of one line.
func inLine(line []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		give := func(from, to int) bool {
			for from < to && isBlank(line[from]) {
				from++
			}
			for from < to && isBlank(line[to-1]) {
				to--
			}
			return yield(line[from:to])
		}
		if !give(0, len(line)) || !assigned(line, give) || !quoted(line, give) {
			return
		}
		// Words, once in one piece and once cut at separators.
		if !words(line, func(c byte) bool { return isBlank(c) || isIn(c, quotes) }, give) {
			return
		}
		if !words(line, func(c byte) bool { return isBlank(c) || isIn(c, quotes) || isIn(c, brackets) || isIn(c, ",;") }, give) {
			return
		}
		words(line, func(c byte) bool {
			return isBlank(c) || isIn(c, quotes) || isIn(c, brackets) || isIn(c, separators)
		}, give)
	}
}

// assigned gives what stands behind the first "=" or ":" of a line, also
// without the punctuation that may end it.
func assigned(line []byte, give func(from, to int) bool) bool {
	for _, sign := range []byte("=:") {
		at := bytes.IndexByte(line, sign)
		if at < 0 {
			continue
		}
		end := len(bytes.TrimRight(line, " \t\r,;"))
		if !give(at+1, len(line)) || end > at && !give(at+1, end) {
			return false
		}
	}
	return true
}

// quoted gives what stands between two quotes of one kind.
func quoted(line []byte, give func(from, to int) bool) bool {
	for _, q := range []byte(quotes) {
		from := -1
		for i, c := range line {
			if c != q {
				continue
			}
			if from >= 0 && !give(from, i) {
				return false
			}
			from = i + 1
		}
	}
	return true
}

// words gives the longest runs of bytes that are no border.
func words(line []byte, border func(byte) bool, give func(from, to int) bool) bool {
	from := 0
	for i := 0; i <= len(line); i++ {
		if i < len(line) && !border(line[i]) {
			continue
		}
		if i > from && !give(from, i) {
			return false
		}
		from = i + 1
	}
	return true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

func isIn(c byte, set string) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}
