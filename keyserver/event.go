package keyserver

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A Result is how what an event tells of ended.
type Result string

const (
	OK     Result = "ok"
	Denied Result = "denied" // refused: not authenticated, not allowed
	Failed Result = "failed" // allowed, but it could not be done
)

// An Event is one record of the audit log: who did what to which record, from
// where, and how it ended. No field ever holds a secret.
type Event struct {
	Seq      int64 // set by the store: from 1, without gaps
	At       time.Time
	Actor    string // "user:NAME", "workspace:NAME", "server", "unknown"
	ActorID  string // of the user or the workspace
	Action   string // "key.fetch", "user.create", …
	Target   string // the record, by name
	TargetID UserID // the user it belongs to
	Remote   string // the client's address
	Result   Result
	Detail   string

	// By is the credential that a change is made with. It is not part of the
	// record: see [Store].
	By Credential

	// Hash chains the events, so that a removed or changed one shows: it is
	// the SHA-256 over the hash of the event before and all the fields above.
	Hash [sha256.Size]byte
}

// A Credential is a token, and its user as they were when the token was looked
// at. The zero Credential is the server's own.
type Credential struct {
	Token       TokenID
	UserVersion int64
}

// Chain makes e the successor of prev: it sets Seq and Hash. The first event's
// predecessor is the zero Event. A store calls it while no other event can be
// stored.
func (e *Event) Chain(prev Event) {
	e.Seq = prev.Seq + 1
	e.Hash = e.chainHash(prev.Hash)
}

// Follows reports whether e is what Chain made of it behind prev.
func (e Event) Follows(prev Event) bool {
	return e.Seq == prev.Seq+1 && e.Hash == e.chainHash(prev.Hash)
}

// chainHash covers each field with its length, so that no two events share an
// encoding.
func (e Event) chainHash(prev [sha256.Size]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(prev[:])
	var n [8]byte
	number := func(v int64) {
		binary.BigEndian.PutUint64(n[:], uint64(v))
		h.Write(n[:])
	}
	number(e.Seq)
	number(e.At.UnixMicro())
	for _, s := range []string{e.Actor, e.ActorID, e.Action, e.Target, string(e.TargetID), e.Remote, string(e.Result), e.Detail} {
		number(int64(len(s)))
		h.Write([]byte(s))
	}
	return [sha256.Size]byte(h.Sum(sum[:0]))
}
