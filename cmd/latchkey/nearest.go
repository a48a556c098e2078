package main

// nearest returns the name that was probably meant, or "" if none is near: at
// most a third of the letters differ.
func nearest(typed string, names []string) string {
	best, bestDistance := "", 1+max(len([]rune(typed))/3, 1)
	for _, name := range names {
		if d := distance([]rune(typed), []rune(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, replace, or swap with their
// neighbour, to make b of a ("optimal string alignment").
func distance(a, b []rune) int {
	if len(a) > 255 || len(b) > 255 {
		return 255 // nobody typed that
	}
	var before, above, row []int
	for i := range len(a) + 1 {
		before, above, row = above, row, make([]int, len(b)+1)
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				row[j] = i + j
				continue
			}
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
