package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/latchkey/latchkey/keyserver/knownhost"
)

// What the server's known hosts say of a host's key, if not that it is right.
const (
	hostUnknown = "unknown" // they have none of the host
	hostChanged = "changed" // they have another
)

// judgeHost holds the key that a host shows, by its fingerprint, against the lines about
// the host. It is "" if ssh may accept the key by them, or will say itself why not.
func judgeHost(lines []byte, host, fingerprint string) string {
	list, err := knownhost.Parse(lines)
	if err != nil || !strings.HasPrefix(fingerprint, "SHA256:") { // of a server that knows more, or FingerprintHash
		return ""
	}
	for _, l := range list {
		if l.Fingerprint() == fingerprint { // or it is revoked
			return ""
		}
	}
	switch keys, authorities := knownhost.Keys(list, host); {
	case len(authorities) > 0:
		return "" // there may be a certificate
	case len(keys) > 0:
		return hostChanged
	}
	return hostUnknown
}

// noteHost leaves word at a helper's place if the server's known hosts have no such key
// of a host. ssh may know it by the user's own files: if it does not, the helper says
// what can be done. As that is a link that leads nowhere, it takes one call.
func noteHost(helper place, lines []byte, host, fingerprint string) {
	if said := judgeHost(lines, host, fingerprint); said != "" {
		os.Symlink(said+" "+host, helper.file(placeJudged)) // without it ssh's own message must do
	}
}

// judgedHost is what noteHost has said: "" if it was not called, or all was well.
func (p place) judgedHost() (said, host string) {
	text, err := os.Readlink(p.file(placeJudged))
	if err != nil {
		return "", ""
	}
	said, host, _ = strings.Cut(text, " ")
	return said, host
}

// refusedHost says what can be done if ssh has failed at the host's key, and reports
// whether it has: then known hosts were to be had. That ssh may have failed there is seen
// from what they said of the key, and as it has not come to ask for keys of its user. But
// it may know the host by the user's own files, and the host have hung up: hence the "if".
func (h *helper) refusedHost(status syscall.WaitStatus) bool {
	w := h.seen.now()
	if h.aside || !status.Exited() || status.ExitStatus() != exitSSH || w.asked || w.loggedIn {
		return false
	}
	said, host := h.place.judgedHost()
	switch said {
	case hostUnknown:
		h.message("hint", fmt.Sprintf(`if ssh does not accept the key of %s: the key server knows none of that host, an admin can add it for all workspaces, "latchkey known-host add %s KEY"; at a terminal, ssh asks about a host that is new to it`, host, quoted(host)))
	case hostChanged:
		h.message("hint", fmt.Sprintf(`if ssh does not accept the key of %s: the key server knows that host by another one ("latchkey known-host list"); if the new one is right, an admin changes that line, which is in no file here for "ssh-keygen -R" to change`, host))
	}
	return said != ""
}
