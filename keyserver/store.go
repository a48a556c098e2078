package keyserver

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

type (
	UserID      string // a UUID
	WorkspaceID string // a UUID
	TokenID     string // a UUID
)

// A User as it is stored.
type User struct {
	ID        UserID
	Name      string
	Role      api.Role
	Disabled  bool
	DataKey   []byte // sealed under the master key; destroying it shreds all that is sealed for the user
	Version   int64  // counts changes, from 1
	CreatedAt time.Time
	UpdatedAt time.Time
}

// A Key is one generation of a named key of a user. The highest generation of
// a name is the current one; lower ones are there only until they expire.
type Key struct {
	UserID      UserID
	Name        string
	Generation  int64 // from 1
	Algorithm   api.Algorithm
	PublicKey   []byte // SSH wire form (RFC 4253, section 6.6)
	Fingerprint string // "SHA256:…" of PublicKey
	Sealed      []byte // the private key
	Imported    bool
	CreatedAt   time.Time // of generation 1
	UpdatedAt   time.Time // of this generation
	ExpiresAt   time.Time // zero for the current generation

	LastFetchedAt time.Time   // zero: never
	LastFetchedBy WorkspaceID // "": never
}

// A Workspace as it is stored.
type Workspace struct {
	ID        WorkspaceID
	UserID    UserID
	Name      string
	CreatedAt time.Time
}

// A Token as it is stored: without the token.
type Token struct {
	ID          TokenID
	Hash        [32]byte // api.HashToken
	Kind        api.TokenKind
	UserID      UserID
	WorkspaceID WorkspaceID // of a workspace token
	Description string
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: does not expire
	RevokedAt   time.Time // zero: not revoked
}

// A Store remembers. It sees sealed values only, checks nothing about names or
// permissions and decides nothing; [Server] does.
//
// This is its contract, which storetest.Run checks:
//
//   - A method that changes something takes the [Event] that records it. The
//     change and its event are stored together or not at all, and on return
//     without error both survive kill -9 and power loss. Concurrent changes
//     may share a commit.
//   - A change whose event names a credential (Event.By) is refused with
//     api.ErrUnauthenticated if, at the moment when it would be stored, the
//     token is revoked or gone, or its user was changed. So what was revoked
//     before a change is acknowledged has not made it, however long the
//     request was under way. Record takes events of every credential.
//   - Methods may be called concurrently, also from several processes where
//     the store is one that processes share.
//   - Other errors are api.ErrNotFound, api.ErrConflict or, for all that is not the
//     caller's doing (a full disk, a lost connection), api.ErrUnavailable;
//     errors.Is finds them. A cancelled context gives its own error; the
//     change may then have been stored all the same.
//   - Records are copies: neither side sees later changes of the other's.
//   - Strings may hold any bytes and are compared as bytes. Times keep
//     microseconds and come back in UTC; the zero time stays zero.
//   - Deleting what others belong to deletes them too: a user's keys, tokens
//     and workspaces; nothing that belongs to a user outlives them but events.
type Store interface {
	UserStore
	KeyStore
	WorkspaceStore
	TokenStore
	AuditStore

	// MasterKeyCheck returns the value that Init stored, and ErrNotFound from
	// a store that is new.
	MasterKeyCheck(context.Context) ([]byte, error)

	// Init stores the check value in a store that has none: ErrConflict if it
	// has one.
	Init(ctx context.Context, check []byte, e Event) error

	Close() error
}

type UserStore interface {
	// CreateUser stores a user with their first key and their first session
	// token. ErrConflict if the name or the ID is taken.
	CreateUser(context.Context, User, Key, Token, Event) error
	User(context.Context, UserID) (User, error)
	UserNamed(ctx context.Context, name string) (User, error)

	// Users lists up to limit users by name, from the first one after the
	// given name on.
	Users(ctx context.Context, after string, limit int) ([]User, error)

	// UpdateUser stores Role, Disabled and UpdatedAt of a user whose stored
	// version is u.Version, and counts the version up. ErrConflict if another
	// one is stored.
	UpdateUser(ctx context.Context, u User, e Event) error
	DeleteUser(context.Context, UserID, Event) error
}

type KeyStore interface {
	// Keys lists a user's keys by name, and under one name the newest
	// generation first; also the expired ones that nothing has removed yet.
	Keys(context.Context, UserID) ([]Key, error)

	// CreateKey stores generation 1 of a new name. ErrConflict if the name is
	// taken, or if the user already has a key with the same fingerprint;
	// ErrNotFound if there is no such user.
	CreateKey(context.Context, Key, Event) error

	// RotateKey stores next, whose generation must be one above the current
	// one of its name: ErrConflict otherwise, or if the user already has a
	// key with the same fingerprint, ErrNotFound if there is no such name. The
	// replaced generation gets oldExpires, or is removed if that is zero;
	// generations of the name that have expired at next.UpdatedAt are removed
	// and do not stand in the way of next.
	RotateKey(ctx context.Context, next Key, oldExpires time.Time, e Event) error

	// DeleteKey removes all generations of a name.
	DeleteKey(ctx context.Context, user UserID, name string, e Event) error

	// RecordFetch notes on one generation who fetched it, and when (e.At).
	// ErrNotFound if it has been removed since.
	RecordFetch(ctx context.Context, user UserID, name string, generation int64, by WorkspaceID, e Event) error
}

type WorkspaceStore interface {
	// CreateWorkspace stores a workspace and its first token. ErrConflict if
	// the user has one of that name; ErrNotFound if there is no such user.
	CreateWorkspace(context.Context, Workspace, Token, Event) error
	Workspace(context.Context, WorkspaceID) (Workspace, error)

	// Workspaces lists a user's by name.
	Workspaces(context.Context, UserID) ([]Workspace, error)

	// DeleteWorkspace removes a workspace and revokes its tokens (e.At).
	DeleteWorkspace(context.Context, WorkspaceID, Event) error
}

type TokenStore interface {
	// CreateToken stores a token. ErrNotFound if its user, or its workspace
	// among the user's, is not there; ErrConflict if its ID or hash is taken.
	CreateToken(context.Context, Token, Event) error

	// TokenByHash finds any token, also one that is revoked or has expired.
	TokenByHash(context.Context, [32]byte) (Token, error)

	// Tokens lists the tokens of a user, session tokens if workspace is "", by
	// creation time, then ID.
	Tokens(ctx context.Context, user UserID, workspace WorkspaceID) ([]Token, error)

	// RevokeToken marks a token revoked (e.At); a second time changes nothing
	// but stores the event.
	RevokeToken(ctx context.Context, id TokenID, e Event) error
}

type AuditStore interface {
	// Record stores an event that comes with no change.
	Record(context.Context, Event) error

	// Events lists up to limit events in order, from the first one after the
	// given sequence number on.
	Events(ctx context.Context, after int64, limit int) ([]Event, error)

	// LastEvent returns the newest event, ErrNotFound if there is none.
	LastEvent(context.Context) (Event, error)
}
