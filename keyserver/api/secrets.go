package api

import (
	"time"
	"unicode/utf8"
)

// A Secret describes a user secret. No answer but the delivery to a workspace
// ever holds its value.
type Secret struct {
	ID          string `json:"id"` // UUID
	Name        string `json:"name"`
	Description string `json:"description"`
	EnvName     string `json:"env_name"`  // "": no environment variable
	FilePath    string `json:"file_path"` // "~/…" or "/…"; "": no file
	Enabled     bool   `json:"enabled"`   // false: kept, and delivered nowhere

	// Workspaces and Labels limit the secret to the workspaces that are named,
	// or that have one of the labels. Both empty: all of the user's.
	Workspaces []string `json:"workspaces"`
	Labels     []string `json:"labels"`

	Version   int64     `json:"version"` // of the value, from 1
	Size      int64     `json:"size"`    // of the value, in bytes
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// A SecretValue is a secret's value in a request or a delivery, in one of two
// forms: as text, if it is valid UTF-8, or in base64.
type SecretValue struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitzero"`
}

// NewSecretValue chooses the form: text where text can hold the value.
func NewSecretValue(b []byte) SecretValue {
	if utf8.Valid(b) {
		s := string(b)
		return SecretValue{Value: &s}
	}
	return SecretValue{ValueBase64: b}
}

// Bytes is the value; ok is false if there is none, or both forms are there.
func (v SecretValue) Bytes() (b []byte, ok bool) {
	switch {
	case v.Value != nil && v.ValueBase64 == nil:
		return []byte(*v.Value), true
	case v.Value == nil && v.ValueBase64 != nil:
		return v.ValueBase64, true
	}
	return nil, false
}

// CreateSecretRequest stores a secret. It must have a value, which may be
// empty, and, unless it is disabled, a target.
type CreateSecretRequest struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	EnvName     string `json:"env_name,omitempty"`
	FilePath    string `json:"file_path,omitempty"`
	Enabled     *bool  `json:"enabled,omitempty"` // default: true

	Workspaces []string `json:"workspaces,omitempty"`
	Labels     []string `json:"labels,omitempty"`
	SecretValue
}

// UpdateSecretRequest changes what is there and leaves what is absent: "" clears
// a target, [] a limit. A value is a new version of the value.
type UpdateSecretRequest struct {
	Name        *string   `json:"name,omitempty"` // renames it
	Description *string   `json:"description,omitempty"`
	EnvName     *string   `json:"env_name,omitempty"`
	FilePath    *string   `json:"file_path,omitempty"`
	Enabled     *bool     `json:"enabled,omitempty"`
	Workspaces  *[]string `json:"workspaces,omitempty"`
	Labels      *[]string `json:"labels,omitempty"`
	SecretValue
}

// UpdateSecretsRequest changes several secrets, all or none, so that two can
// swap their targets.
type UpdateSecretsRequest struct {
	Secrets []NamedUpdate `json:"secrets"`
}

// A NamedUpdate is the change of the secret that has the name Secret now.
type NamedUpdate struct {
	Secret string `json:"secret"`
	UpdateSecretRequest
}

// An ImportFormat is the form of a file of secrets.
type ImportFormat string

const (
	Dotenv ImportFormat = "env"
	JSON   ImportFormat = "json"
	YAML   ImportFormat = "yaml"
)

// ImportSecretsRequest makes a secret of each entry of a file, all or none. It
// never overwrites.
type ImportSecretsRequest struct {
	Format  ImportFormat `json:"format"`
	Content string       `json:"content"`
}

// A SecretVersion describes one version of a secret's value.
type SecretVersion struct {
	Version   int64     `json:"version"`
	Size      int64     `json:"size"` // in bytes
	CreatedAt time.Time `json:"created_at"`
	Current   bool      `json:"current"`

	// RolledBackTo is the version whose value this one repeats; 0: none.
	RolledBackTo int64 `json:"rolled_back_to,omitempty"`
}

// RollbackSecretRequest makes an earlier value the current one again, as a new
// version.
type RollbackSecretRequest struct {
	Version int64 `json:"version,omitempty"` // 0: the one before the current one
}

// Limits are what a server allows each user, counted in plaintext.
type Limits struct {
	Secrets   int   `json:"secrets"`
	EnvValue  int64 `json:"env_value_bytes"`  // of a secret with an environment variable
	FileValue int64 `json:"file_value_bytes"` // of a secret with a file only
	EnvTotal  int64 `json:"env_total_bytes"`  // of all with a variable: its name and value, and 2 bytes
	Total     int64 `json:"total_bytes"`      // of all values
	Versions  int   `json:"versions"`         // kept of each value, the current one included
}

// A Requirement names a secret that a workspace needs: by its environment
// variable or by its file, one of both.
type Requirement struct {
	EnvName  string `json:"env_name,omitempty"`
	FilePath string `json:"file_path,omitempty"`
	Help     string `json:"help"` // for the user: what it is, and where to get one
}

// UpdateWorkspaceRequest changes what is not nil.
type UpdateWorkspaceRequest struct {
	Labels        *[]string      `json:"labels,omitempty"`
	RefuseSecrets *bool          `json:"refuse_secrets,omitempty"`
	Requirements  *[]Requirement `json:"requirements,omitempty"`
	KeyMode       *KeyMode       `json:"key_mode,omitempty"`
}

// A RequirementCheck says whether a workspace will have what it needs.
type RequirementCheck struct {
	Requirement
	Met    bool   `json:"met"`
	Secret string `json:"secret,omitempty"` // the secret with that target, if there is one
	Why    string `json:"why,omitempty"`    // it is not met
}

// WorkspaceSecrets is what a workspace is given, values included.
type WorkspaceSecrets struct {
	Revision     int64             `json:"revision"` // of the user's secrets, as [WatchEvent] has it
	Refused      bool              `json:"refused"`  // the workspace is set to take no user secrets
	Secrets      []DeliveredSecret `json:"secrets"`  // by name
	Requirements []Requirement     `json:"requirements"`

	// Damaged names the secrets that would be here too, but whose stored values
	// do not open any more: the store was changed. Usually there are none.
	Damaged []string `json:"damaged,omitempty"`
}

// A DeliveredSecret is one secret on its way to a workspace.
type DeliveredSecret struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	EnvName  string `json:"env_name,omitempty"`
	FilePath string `json:"file_path,omitempty"`
	Version  int64  `json:"version"`
	SecretValue
}

// FetchSecretsRequest asks for [WorkspaceSecrets], sealed to Recipient. The
// answer is not JSON but the sealed bytes, see [Recipient.OpenSecrets].
type FetchSecretsRequest struct {
	Recipient []byte `json:"recipient"` // [Recipient.PublicKey]
}

// A Target is a way in which a secret is delivered.
type Target string

const (
	EnvTarget  Target = "env"
	FileTarget Target = "file"
)

// A DeliveryState is what became of one target of a secret in one workspace.
type DeliveryState string

const (
	Delivered DeliveryState = "delivered"
	Shadowed  DeliveryState = "shadowed" // another one takes the target
	Blocked   DeliveryState = "blocked"  // it may not be delivered there
	Failed    DeliveryState = "failed"   // it could not be; it is tried again
	Changed   DeliveryState = "changed"  // the user has changed the file, which is left alone

	// These the server knows by itself.
	Pending    DeliveryState = "pending"      // the workspace has not reported yet
	Disabled   DeliveryState = "disabled"     // the secret is
	OutOfScope DeliveryState = "out of scope" // limited to other workspaces
	Refused    DeliveryState = "refused"      // the workspace takes no user secrets
)

// A DeliveryItem is one target of one secret.
type DeliveryItem struct {
	Secret  string        `json:"secret"` // its name
	Target  Target        `json:"target"`
	Where   string        `json:"where"` // the variable, or the path
	Version int64         `json:"version,omitempty"`
	State   DeliveryState `json:"state"`
	Detail  string        `json:"detail,omitempty"` // why; never a value
}

// A DeliveryReport is what a workspace says of its last delivery.
type DeliveryReport struct {
	Revision int64          `json:"revision"` // of the [WorkspaceSecrets] that it is about
	Items    []DeliveryItem `json:"items"`
}

// A WorkspaceDelivery is what became of a user's secrets in one workspace.
type WorkspaceDelivery struct {
	Workspace   string         `json:"workspace"` // its name
	WorkspaceID string         `json:"workspace_id"`
	ReportedAt  *time.Time     `json:"reported_at,omitempty"` // nil: never
	Current     bool           `json:"current"`               // the report is about what is stored now
	Items       []DeliveryItem `json:"items"`
}

// ScanRequest asks which of a user's secrets have one of the values that are
// hashed. The server hashes its own and compares; no value travels.
type ScanRequest struct {
	Salt []byte `json:"salt"` // 32 bytes, made for this scan

	// Hashes are the first 16 bytes each of the HMAC-SHA256 of the candidates
	// under Salt, one behind the other.
	Hashes []byte `json:"hashes"`
}

// A ScanMatch is a candidate that is the value of a secret.
type ScanMatch struct {
	Index  int    `json:"index"`  // of the hash, from 0
	Secret string `json:"secret"` // its name
}

// A WatchEvent is what a workspace is told by the server while it watches.
type WatchEvent struct {
	Kind WatchKind `json:"-"` // the event's name

	// Revision counts the changes of what the user's workspaces are given, but for
	// those of the known hosts, which are told with the same one again. It is the
	// event's ID too, from which a later request resumes.
	Revision int64 `json:"revision"`
}

// A WatchKind is the name of an event.
type WatchKind string

const (
	WatchChanged WatchKind = "changed" // keys, secrets, the workspace or the known hosts: ask again
	WatchStopped WatchKind = "stopped" // the token is valid no more: forget everything
)
