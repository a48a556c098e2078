package main

import (
	"fmt"
	"strings"
)

// refusedHint is for a token that the server does not take, of the workspace of a daemon
// that runs; "" if none does. Why the server says in words only.
func refusedHint(workspace, why string) string {
	again := ": then start the daemon again"
	if workspace == "" {
		workspace, again = "NAME", ""
	}
	renew := fmt.Sprintf(`"%s" makes a new one%s`, newTokenLine(workspace, "FILE"), again)
	switch {
	case strings.Contains(why, "token was revoked at "), strings.Contains(why, "token expired at "):
		return renew
	case strings.Contains(why, "the workspace of the token was deleted"), strings.Contains(why, "the workspace was deleted"):
		return fmt.Sprintf(`"latchkey workspace create %s --token-file FILE" makes another, and its token%s`, quoted(workspace), again)
	case strings.HasSuffix(why, " is disabled"):
		return "ask an admin to enable the user"
	}
	return fmt.Sprintf(`was it revoked, or has it expired? %s; if the workspace was deleted, "latchkey workspace create" makes another`, renew)
}
