package keyserver

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
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

	// Facts is what Detail says of a signature for programs: the JSON of an
	// [api.SignatureFacts], "" in all other events. It is text, and kept as it
	// was written, so that the chain holds whatever fields are added later.
	Facts string

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
// encoding. Facts came later: without any, an event has the hash that it always
// had, and with some there is one field more, which no event without has.
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
	fields := []string{e.Actor, e.ActorID, e.Action, e.Target, string(e.TargetID), e.Remote, string(e.Result), e.Detail}
	if e.Facts != "" {
		fields = append(fields, e.Facts)
	}
	for _, s := range fields {
		number(int64(len(s)))
		h.Write([]byte(s))
	}
	return [sha256.Size]byte(h.Sum(sum[:0]))
}

// Wire is the event as the API and "latchkeyd audit" show it. Facts that are not
// readable, as somebody has changed them, it leaves out: the chain shows that.
func (e Event) Wire() api.Event {
	out := api.Event{
		Seq: e.Seq, At: e.At, Actor: e.Actor, ActorID: e.ActorID, Action: e.Action,
		Target: e.Target, TargetID: string(e.TargetID), Remote: e.Remote,
		Result: string(e.Result), Detail: e.Detail, ChainHash: hex.EncodeToString(e.Hash[:]),
	}
	var facts api.SignatureFacts
	if e.Facts != "" && json.Unmarshal([]byte(e.Facts), &facts) == nil {
		out.Signature = &facts
	}
	return out
}
