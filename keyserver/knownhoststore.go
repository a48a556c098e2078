package keyserver

import (
	"context"
	"time"
)

// A KnownHost is one line of the known hosts that the server distributes.
type KnownHost struct {
	ID        KnownHostID
	Marker    string // "", "@cert-authority" or "@revoked"
	Hosts     string // patterns, or one hashed name
	KeyType   string
	Key       []byte // SSH wire form (RFC 4253, section 6.6)
	Comment   string
	CreatedAt time.Time
	CreatedBy UserID // who may be gone
}

// A KnownHostStore keeps the known hosts. They belong to nobody, and change no
// user's revision: their own one tells all who watch.
type KnownHostStore interface {
	// KnownHostsRevision counts the changes of the known hosts, from 0.
	KnownHostsRevision(context.Context) (int64, error)

	// KnownHosts lists all in the order in which they were added, as they are
	// at a revision.
	KnownHosts(context.Context) (hosts []KnownHost, revision int64, err error)

	// AddKnownHosts stores several, all or none. ErrConflict if two, those that
	// are there included, have one ID, or one marker with the same hosts and
	// key.
	AddKnownHosts(context.Context, []KnownHost, Event) error
	DeleteKnownHost(context.Context, KnownHostID, Event) error
}
