// Package test runs the shipped programs beside the real ones: git, ssh, sshd,
// strace and what else speaks to an ssh-agent. It holds tests and their harness
// only.
//
// A test puts its own little world together: a key server ([startServer]), a
// user of it, a workspace of theirs, and an sshd that serves repositories
// ([startSSHD]). All of it is ready when its constructor returns and gone when
// the test ends. Run as root, the workspace belongs to an ordinary user, as it
// does where Latchkey is used.
package test
