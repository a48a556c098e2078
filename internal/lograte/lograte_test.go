package lograte

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limit
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, nil))
		tell := func(n int) (told int) {
			for i := range n {
				if l.Log(log, slog.LevelWarn, "refused", "n", i) {
					told++
				}
			}
			return told
		}
		if told := tell(PerMinute + 5); told != PerMinute {
			t.Errorf("%d lines at once; want %d", told, PerMinute)
		}
		time.Sleep(time.Minute - 1)
		if tell(1) != 0 {
			t.Error("within a minute there is one more line")
		}
		time.Sleep(1)
		tell(2)
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != PerMinute+2 || strings.Contains(lines[0], "left_out") ||
			!strings.HasSuffix(lines[PerMinute], "level=WARN msg=refused n=0 left_out_before=6") || !strings.HasSuffix(lines[PerMinute+1], "n=1") {
			t.Errorf("the log has %d lines, at the end %q; want the first one after a minute to say that 6 were left out", len(lines), lines[len(lines)-2:])
		}
		if l.Log(log, slog.LevelDebug, "refused") || l.told != 2 {
			t.Errorf("a line that the log does not take counts: %d in this minute; want 2", l.told)
		}
	})
}
