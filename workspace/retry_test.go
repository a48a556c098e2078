package workspace

import (
	"testing"
)

func TestBackoff(t *testing.T) {
	for n := range 100 {
		whole := watchMost
		if n < 8 {
			whole = min(watchMost, watchLeast<<n)
		}
		for range 20 {
			if d := backoff(n, watchLeast, watchMost); d < whole/2 || d > whole {
				t.Errorf("before try %d one waits %v; want %v to %v", n, d, whole/2, whole)
			}
		}
	}
}
