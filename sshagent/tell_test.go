package sshagent

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/lograte"
)

// What a client can have the log say as often as it likes does not fill it, and who is
// elsewhere can't hide by it what is refused here.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) { // in which no time goes by
		var log logBuffer
		b.Log = log.logger()
		here, elsewhere := b.dial(), b.dial()
		do(t, elsewhere, "a bind", bindRequest(t, hostKey(t, newKey(t)), "id", "id", 1), true)
		unknown := newKey(t)
		for range lograte.PerMinute {
			do(t, elsewhere, "adding a key", addition{key: unknown}.request(t), false)
			do(t, elsewhere, "a signature", signFrame(public(t, unknown), "data", 0), false)
			do(t, elsewhere, "a signature of data that is none", signFrame(public(t, testKeys()["ed25519"]), "data", 0), false)
		}
		do(t, here, "a message that is none", []byte{99}, false)
		if n := strings.Count(log.String(), "level=WARN"); n != lograte.PerMinute+1 {
			t.Errorf("the log has %d lines; want %d, and the one of who is here:\n%s", n, lograte.PerMinute, &log)
		}
		log.want(t, "unknown message")
	})
}
