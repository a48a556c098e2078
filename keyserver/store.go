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
	SecretID    string // a UUID
	KnownHostID string // a UUID
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

	Settings KeySettings // of the name: the same for all its generations
}

// KeySettings are what a user has chosen for a key.
type KeySettings struct {
	Mode            api.KeyMode // "": api.FetchMode
	Hosts           []api.KeyHost
	Namespaces      []string
	RefuseForwarded bool
	UsableUntil     time.Time // zero: for ever
	Version         int64     // counts changes; 0: nothing was ever chosen
}

// A Workspace as it is stored.
type Workspace struct {
	ID        WorkspaceID
	UserID    UserID
	Name      string
	Version   int64 // counts changes, from 1
	CreatedAt time.Time

	Labels        []string // by which secrets are limited to it
	RefuseSecrets bool     // it is given no user secrets
	Requirements  []api.Requirement
	KeyMode       api.KeyMode // "": api.FetchMode

	HostKey []byte // of its SSH server: public, SSH wire form; nil: none was made yet
}

// A LoginKey is a public key by whose private key a user may log in to their
// workspaces over SSH.
type LoginKey struct {
	UserID      UserID
	Name        string
	PublicKey   []byte // SSH wire form
	Fingerprint string // "SHA256:…" of PublicKey
	CreatedAt   time.Time
}

// A Secret of a user as it is stored, without its value.
type Secret struct {
	ID          SecretID
	UserID      UserID
	Name        string
	Description string
	EnvName     string // "": no environment variable
	FilePath    string // "": no file
	Enabled     bool

	// The workspaces that it is limited to, by name and by label. Both empty:
	// all of the user's.
	Workspaces []string
	Labels     []string

	Version   int64 // of the current value, from 1
	Size      int64 // of the current value, in bytes of plaintext
	CreatedAt time.Time
	UpdatedAt time.Time
}

// A SecretValue is one version of the value of a secret.
type SecretValue struct {
	Secret       SecretID
	Version      int64 // from 1
	Sealed       []byte
	Size         int64 // of the plaintext, in bytes
	CreatedAt    time.Time
	RolledBackTo int64 // the version that it repeats; 0: none
}

// A SecretChange is a change of a user's secrets, made as a whole.
type SecretChange struct {
	Delete []SecretID    // with all versions of their values; comes first
	Put    []Secret      // by ID: new ones, and what replaces those that there are
	Values []SecretValue // further versions, of secrets that there are then
	Keep   int           // of the values of a secret in Values, the newest that stay; 0: all
}

// A Delivery is what a workspace last said of its secrets.
type Delivery struct {
	WorkspaceID WorkspaceID
	Revision    int64 // what it was about
	ReportedAt  time.Time
	Items       []api.DeliveryItem
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
//     microseconds and come back in UTC; the zero time stays zero. Lists keep
//     their order; an empty one comes back as nil.
//   - Deleting what others belong to deletes them too: a user's keys, secrets,
//     tokens and workspaces, a workspace's delivery; nothing that belongs to a
//     user outlives them but events.
type Store interface {
	UserStore
	KeyStore
	WorkspaceStore
	TokenStore
	SecretStore
	KnownHostStore
	LoginKeyStore
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

	// CreateKey stores generation 1 of a new name, without settings. ErrConflict if the name is
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

	// UpdateKey stores the settings of a name whose stored ones have the version
	// set.Version, and counts that up. ErrConflict if others are stored,
	// ErrNotFound if there is no such name.
	UpdateKey(ctx context.Context, user UserID, name string, set KeySettings, e Event) error

	// DeleteKey removes all generations of a name, and its settings.
	DeleteKey(ctx context.Context, user UserID, name string, e Event) error

	// RecordFetch notes on one generation who fetched it, and when (e.At).
	// ErrNotFound if it has been removed since.
	RecordFetch(ctx context.Context, user UserID, name string, generation int64, by WorkspaceID, e Event) error

	// RecordSign stores the event of a signature with one generation that was
	// allowed by settings of a version. ErrNotFound if the generation has been
	// removed since, ErrConflict if the settings have been changed since.
	RecordSign(ctx context.Context, user UserID, name string, generation, settings int64, e Event) error
}

type WorkspaceStore interface {
	// CreateWorkspace stores a workspace, without a HostKey, and its first
	// token. ErrConflict if the user has one of that name; ErrNotFound if there
	// is no such user.
	CreateWorkspace(context.Context, Workspace, Token, Event) error
	Workspace(context.Context, WorkspaceID) (Workspace, error)

	// Workspaces lists a user's by name.
	Workspaces(context.Context, UserID) ([]Workspace, error)

	// UpdateWorkspace stores Labels, RefuseSecrets, Requirements and KeyMode of a
	// workspace whose stored version is w.Version, and counts the version up.
	// ErrConflict if another one is stored.
	UpdateWorkspace(ctx context.Context, w Workspace, e Event) error

	// DeleteWorkspace removes a workspace and revokes its tokens (e.At).
	DeleteWorkspace(context.Context, WorkspaceID, Event) error

	// CreateHostKey stores the host key of a workspace that has none, which
	// does not count as a change of the workspace or of the user's revision.
	// ErrConflict if it has one; ErrNotFound if there is no such workspace.
	CreateHostKey(ctx context.Context, id WorkspaceID, public, sealed []byte, e Event) error

	// SealedHostKey is what CreateHostKey stored. ErrNotFound if it did not.
	SealedHostKey(context.Context, WorkspaceID) ([]byte, error)
}

type LoginKeyStore interface {
	// LoginKeys lists a user's login keys by name.
	LoginKeys(context.Context, UserID) ([]LoginKey, error)

	// CreateLoginKey stores a login key. ErrConflict if the user has one of that
	// name or fingerprint; ErrNotFound if there is no such user.
	CreateLoginKey(context.Context, LoginKey, Event) error

	// DeleteLoginKey removes a login key: ErrNotFound if there is none.
	DeleteLoginKey(ctx context.Context, user UserID, name string, e Event) error
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

// A SecretStore keeps user secrets. Each user has a revision, which counts the
// changes of what their workspaces are given: from 1, and up by one with each
// change of their keys (but not RecordFetch and RecordSign), login keys, secrets,
// workspaces (but not CreateHostKey) and workspace tokens, and of the user.
//
// A token that is revoked again has not changed.
type SecretStore interface {
	// Revision is the user's: ErrNotFound if there is no such user.
	Revision(context.Context, UserID) (int64, error)

	// Secrets lists a user's secrets by name, as they are at a revision.
	// ErrNotFound if there is no such user.
	Secrets(context.Context, UserID) (secrets []Secret, revision int64, err error)

	// CurrentValues is Secrets with the current value of each, in the same
	// order, all as they are at one revision. Where a secret's version is none
	// of those that are kept, its value has no Sealed.
	CurrentValues(context.Context, UserID) (secrets []Secret, values []SecretValue, revision int64, err error)

	// SecretValues lists the versions of a secret's value that are kept, newest
	// first; none if there is no such secret.
	SecretValues(context.Context, SecretID) ([]SecretValue, error)

	// ChangeSecrets makes a change that was thought out over what Secrets
	// listed at a revision: ErrConflict if that is not the user's any more, if
	// two secrets of the user had one name, variable or file, two of any users
	// one ID, or two values of a secret one version; ErrNotFound if there is no
	// such user, or no such secret of theirs to delete or to take a value. What
	// is put is the user's, whatever its UserID.
	ChangeSecrets(ctx context.Context, user UserID, revision int64, change SecretChange, e Event) error

	// ReportDelivery stores what a workspace says, in the place of what it
	// said before. It does not count as a change of the user's revision.
	// ErrNotFound if there is no such workspace.
	ReportDelivery(context.Context, Delivery, Event) error

	// Deliveries lists what a user's workspaces have last said, by workspace ID.
	Deliveries(context.Context, UserID) ([]Delivery, error)
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
