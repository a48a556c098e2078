// Package workspace is the workspace daemon: it joins the ssh-agent, the key
// server and the hardened memory in between. The git helper uses the same parts
// when no daemon runs.
//
// A private key comes from the server sealed, is kept in a [harden.Shielded], and
// is expanded and used inside [harden.Do] for each signature.
package workspace

// A Problem is an error that the user can do something about.
type Problem struct {
	Err  error
	Hint string // what to do, for a line of its own
}

func (p *Problem) Error() string { return p.Err.Error() }
func (p *Problem) Unwrap() error { return p.Err }
