package main

import (
	"cmp"
	"fmt"
	"strings"
)

// refusedHint is for a token that the server does not take of a workspace; "" if it
// is not known which. Why the server says in words only.
func refusedHint(workspace, why string) string {
	workspace = cmp.Or(workspace, "NAME")
	renew := fmt.Sprintf(`"%s" makes a new one: then start the daemon again`, newTokenLine(workspace, "FILE"))
	switch {
	case strings.Contains(why, "token was revoked at "), strings.Contains(why, "token expired at "):
		return renew
	case strings.Contains(why, "the workspace of the token was deleted"), strings.Contains(why, "the workspace was deleted"):
		return fmt.Sprintf(`"latchkey workspace create %s --token-file FILE" makes another, and its token: then start the daemon again`, quoted(workspace))
	case strings.HasSuffix(why, " is disabled"):
		return "ask an admin to enable the user"
	}
	return fmt.Sprintf(`was it revoked, or has it expired? %s; if the workspace was deleted, "latchkey workspace create" makes another`, renew)
}
