package api

import "time"

// A Role says what a user may do. A role is not a rank: an admin manages users
// but cannot read their keys.
type Role string

const (
	RoleUser        Role = "user"        // their own keys and workspaces
	RoleAdmin       Role = "admin"       // also all users, and the audit log
	RoleProvisioner Role = "provisioner" // also workspaces, and their tokens, of all users
	RoleAuditor     Role = "auditor"     // also reads the audit log
)

// An Algorithm is a kind of SSH key that the server can make or import.
type Algorithm string

const (
	Ed25519 Algorithm = "ed25519"    // RFC 8709; the default
	ECDSA   Algorithm = "ecdsa-p256" // RFC 5656, curve nistp256
	RSA     Algorithm = "rsa4096"    // made with 4096 bits; imported with 3072 to 8192
)

// DefaultKey is the name of the key that is made with its user.
const DefaultKey = "default"

// Me stands for the user of the session token wherever a route takes a user.
const Me = "me"

// A User is a person or a bot with an account.
type User struct {
	ID        string    `json:"id"` // UUID
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// CreateUserRequest makes a user and, in the same transaction, their default key.
type CreateUserRequest struct {
	Name         string    `json:"name"`                    // 1 to 255 bytes, see docs/api.md
	Role         Role      `json:"role,omitempty"`          // default: user
	KeyAlgorithm Algorithm `json:"key_algorithm,omitempty"` // default: the server's
}

// A CreatedUser is a new user with the session token of their first login,
// which is valid for a day and which "latchkey login" replaces by another.
type CreatedUser struct {
	User
	Token CreatedToken `json:"token"`
}

// UpdateUserRequest changes what is not nil.
type UpdateUserRequest struct {
	Role     *Role `json:"role,omitempty"`
	Disabled *bool `json:"disabled,omitempty"`
}

// A Key is the public side of one generation of a user's SSH key pair.
type Key struct {
	UserID      string    `json:"user_id"`
	Name        string    `json:"name"`
	Algorithm   Algorithm `json:"algorithm"`
	Generation  int64     `json:"generation"`  // counts rotations, from 1
	PublicKey   string    `json:"public_key"`  // one authorized_keys line, no newline, with a comment
	Fingerprint string    `json:"fingerprint"` // "SHA256:…", as ssh-keygen -l prints it
	Imported    bool      `json:"imported"`
	CreatedAt   time.Time `json:"created_at"` // when the key of this name was first made
	UpdatedAt   time.Time `json:"updated_at"` // when this generation was made

	// ExpiresAt is set on a generation that a rotation has replaced and that
	// is still offered until then.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`

	// The last time that a workspace fetched this generation's private key.
	LastFetchedAt *time.Time `json:"last_fetched_at,omitempty"`
	LastFetchedBy string     `json:"last_fetched_by,omitempty"` // the workspace's ID

	// What its user has set, for all generations. Mode is what counts where the
	// key is listed: the server's counts too, and to a workspace its own.
	Mode   KeyMode   `json:"mode"`
	Policy KeyPolicy `json:"policy"`
}

// CreateKeyRequest makes a further key, or imports one if PrivateKey is set.
type CreateKeyRequest struct {
	Name       string    `json:"name"`
	Algorithm  Algorithm `json:"algorithm,omitempty"`   // of a new key; an import brings its own
	PrivateKey string    `json:"private_key,omitempty"` // PEM: OpenSSH, PKCS #8, PKCS #1 or SEC 1
	Passphrase string    `json:"passphrase,omitempty"`  // of PrivateKey
}

// RotateKeyRequest replaces a key by a new one, or by PrivateKey if it is set.
// All fields are optional.
type RotateKeyRequest struct {
	// Generation, if not 0, is the generation to replace: another one is a
	// conflict. With 0 the server replaces the one it finds; of two requests
	// that race, one gets a conflict either way.
	Generation int64     `json:"generation,omitempty"`
	Algorithm  Algorithm `json:"algorithm,omitempty"` // default: as before

	// KeepOldSeconds is how long the replaced generation is still offered: 0
	// to 30 days.
	KeepOldSeconds int64 `json:"keep_old_seconds,omitempty"`

	PrivateKey string `json:"private_key,omitempty"` // as in CreateKeyRequest
	Passphrase string `json:"passphrase,omitempty"`
}

// A Workspace is one development environment of one user.
type Workspace struct {
	ID        string    `json:"id"` // UUID
	UserID    string    `json:"user_id"`
	Name      string    `json:"name"` // unique among the user's
	CreatedAt time.Time `json:"created_at"`

	Labels        []string      `json:"labels"`         // by which secrets can be limited to it
	RefuseSecrets bool          `json:"refuse_secrets"` // it is given no user secrets
	Requirements  []Requirement `json:"requirements"`   // the secrets it needs
	KeyMode       KeyMode       `json:"key_mode"`       // SignMode: it is given no private key, whatever mode that has

	HostKey string `json:"host_key,omitempty"` // of its SSH server, as in HostKey; "" until somebody asks for one
}

// CreateWorkspaceRequest makes a workspace and its first token.
type CreateWorkspaceRequest struct {
	Name             string        `json:"name"`
	ExpiresInSeconds int64         `json:"expires_in_seconds,omitempty"` // of the token; 0: does not expire
	Labels           []string      `json:"labels,omitempty"`
	RefuseSecrets    bool          `json:"refuse_secrets,omitempty"`
	Requirements     []Requirement `json:"requirements,omitempty"`
	KeyMode          KeyMode       `json:"key_mode,omitempty"` // default: FetchMode
}

// A CreatedWorkspace is a new workspace with its first token.
type CreatedWorkspace struct {
	Workspace
	Token CreatedToken `json:"token"`
}

// A TokenInfo describes a token without being it.
type TokenInfo struct {
	ID          string     `json:"id"` // UUID
	Kind        TokenKind  `json:"kind"`
	UserID      string     `json:"user_id"`
	WorkspaceID string     `json:"workspace_id,omitempty"` // of a workspace token
	Description string     `json:"description"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
}

// CreateTokenRequest makes a session token or a workspace token.
type CreateTokenRequest struct {
	Description      string `json:"description,omitempty"`        // at most 255 bytes
	ExpiresInSeconds int64  `json:"expires_in_seconds,omitempty"` // 0: does not expire
}

// A CreatedToken is the one answer that holds a token.
type CreatedToken struct {
	TokenInfo
	Token string `json:"token"`
}

// WorkspaceSelf is what a workspace token speaks for.
type WorkspaceSelf struct {
	User      User      `json:"user"`
	Workspace Workspace `json:"workspace"`
}

// A PrivateKey is the documented answer for scripts; our own daemon asks for
// the sealed form instead, see [Recipient].
type PrivateKey struct {
	PublicKey  string `json:"public_key"`
	PrivateKey string `json:"private_key"` // OpenSSH PEM
}

// FetchKeyRequest asks for one private key, sealed to Recipient. The answer is
// not JSON but the sealed bytes, see [Recipient.Open].
type FetchKeyRequest struct {
	Fingerprint string `json:"fingerprint"` // of a key from the workspace's list
	Recipient   []byte `json:"recipient"`   // [Recipient.PublicKey]
}

// An Event is one line of the audit log.
type Event struct {
	Seq       int64     `json:"seq"` // from 1, without gaps
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`     // "user:NAME", "workspace:NAME", "server" or "unknown"
	ActorID   string    `json:"actor_id"`  // of the user or the workspace
	Action    string    `json:"action"`    // "key.fetch", "user.create", …: docs/api.md lists them
	Target    string    `json:"target"`    // which record
	TargetID  string    `json:"target_id"` // the user it belongs to
	Remote    string    `json:"remote"`    // the client's address
	Result    string    `json:"result"`    // "ok", "denied" or "failed"
	Detail    string    `json:"detail"`    // why, in words; never a secret
	ChainHash string    `json:"hash"`      // hex SHA-256 over this event and the hash before it

	// Signature is set on "key.sign", also on one that was denied, if what was to
	// be signed could be read.
	Signature *SignatureFacts `json:"signature,omitempty"`
}

// A SignatureKind is what a signature is good for.
type SignatureKind string

const (
	LoginSignature SignatureKind = "login"  // to a host, as RFC 4252, section 7, has it
	FileSignature  SignatureKind = "sshsig" // of a commit or a file: OpenSSH's PROTOCOL.sshsig
)

// SignatureFacts are what the server has read of what it was asked to sign. The
// workspace that asked is the event's actor.
type SignatureFacts struct {
	Kind SignatureKind `json:"kind"`
	Key  string        `json:"key"` // the fingerprint of the key that signs

	// Of a login.
	User     string `json:"user,omitempty"`      // the account at the host, cut at 80 bytes
	Host     string `json:"host,omitempty"`      // the fingerprint of the host's key; "": it is not known
	HostName string `json:"host_name,omitempty"` // what the key's policy calls it, else the known hosts; "": nothing
	Bound    bool   `json:"bound"`               // what is signed names the host; else the host has proved that the session is with it

	Namespace string `json:"namespace,omitempty"` // of an SSH signature, cut at 80 bytes
}
