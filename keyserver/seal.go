package keyserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/latchkey/latchkey/keyserver/api"
)

// errSeal is what opening a stored value ends with that was changed, or moved
// to another record, or sealed under another key.
var errSeal = errors.New("the stored value does not open: it was changed, or belongs to another record or master key")

// A plaintext is an opened value. Printing or logging it shows the address of a
// function; only reveal gives the bytes, so a search for reveal finds every
// place that they leave.
type plaintext struct{ reveal func() []byte }

func newPlaintext(b []byte) plaintext { return plaintext{func() []byte { return b }} }

// wipe overwrites the bytes. Copies that libraries made of them stay until the
// garbage collector reuses their memory.
func (p plaintext) wipe() { clear(p.reveal()) }

// A sealer wraps the data keys of users under the master key.
type sealer struct{ master tink.AEAD }

// A dataKey seals the values of one user.
type dataKey struct {
	user UserID
	aead tink.AEAD
}

const checkText = "latchkey master key check v1"

// newCheck makes the value by which a store knows its master key again.
func (s sealer) newCheck() ([]byte, error) {
	check, err := s.master.Encrypt([]byte(checkText), associatedData("master key check"))
	if err != nil {
		return nil, fmt.Errorf("trying the master key: %w", err)
	}
	return check, nil
}

func (s sealer) verifyCheck(check []byte) error {
	text, err := s.master.Decrypt(check, associatedData("master key check"))
	if err != nil || string(text) != checkText {
		return &api.Error{
			Kind:    api.ErrInvalid,
			Message: "this is not the master key under which the store's keys are sealed",
			Detail:  "give the server the master key that was made with this store, or restore it from a backup; nothing was changed",
		}
	}
	return nil
}

// newDataKey makes a data key, and its sealed form for the user's record.
func (s sealer) newDataKey(user UserID) (dataKey, []byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return dataKey{}, nil, fmt.Errorf("making a data key: %w", err)
	}
	var sealed bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&sealed), s.master, dataKeyData(user)); err != nil {
		return dataKey{}, nil, fmt.Errorf("sealing a data key: %w", err)
	}
	a, err := aead.New(handle)
	if err != nil {
		return dataKey{}, nil, fmt.Errorf("making a data key: %w", err)
	}
	return dataKey{user, a}, sealed.Bytes(), nil
}

// dataKey opens the data key of a user.
func (s sealer) dataKey(u User) (dataKey, error) {
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(u.DataKey)), s.master, dataKeyData(u.ID))
	if err != nil {
		return dataKey{}, fmt.Errorf("data key of user %s: %w", u.ID, errSeal)
	}
	a, err := aead.New(handle)
	if err != nil {
		return dataKey{}, fmt.Errorf("data key of user %s: %w", u.ID, errSeal)
	}
	return dataKey{u.ID, a}, nil
}

// sealKey seals the private key of one generation of a key.
func (d dataKey) sealKey(name string, generation int64, private plaintext) ([]byte, error) {
	sealed, err := d.aead.Encrypt(private.reveal(), privateKeyData(d.user, name, generation))
	if err != nil {
		return nil, fmt.Errorf("sealing key %s, generation %d: %w", name, generation, err)
	}
	return sealed, nil
}

// openKey opens what sealKey sealed for the same user, name and generation.
func (d dataKey) openKey(k Key) (plaintext, error) {
	der, err := d.aead.Decrypt(k.Sealed, privateKeyData(d.user, k.Name, k.Generation))
	if err != nil {
		return plaintext{}, fmt.Errorf("key %s, generation %d, of user %s: %w", k.Name, k.Generation, d.user, errSeal)
	}
	return newPlaintext(der), nil
}

// sealHostKey seals the private host key of a workspace.
func (d dataKey) sealHostKey(w WorkspaceID, private plaintext) ([]byte, error) {
	sealed, err := d.aead.Encrypt(private.reveal(), hostKeyData(d.user, w))
	if err != nil {
		return nil, fmt.Errorf("sealing the host key of workspace %s: %w", w, err)
	}
	return sealed, nil
}

// openHostKey opens what sealHostKey sealed for the same user and workspace.
func (d dataKey) openHostKey(w WorkspaceID, sealed []byte) (plaintext, error) {
	der, err := d.aead.Decrypt(sealed, hostKeyData(d.user, w))
	if err != nil {
		return plaintext{}, fmt.Errorf("the host key of workspace %s, of user %s: %w", w, d.user, errSeal)
	}
	return newPlaintext(der), nil
}

// sealSecret seals one version of the value of a secret.
func (d dataKey) sealSecret(v SecretValue, value plaintext) ([]byte, error) {
	sealed, err := d.aead.Encrypt(value.reveal(), secretData(d.user, v))
	if err != nil {
		return nil, fmt.Errorf("sealing secret %s, version %d: %w", v.Secret, v.Version, err)
	}
	return sealed, nil
}

// openSecret opens what sealSecret sealed for the same user, secret and version.
func (d dataKey) openSecret(v SecretValue) (plaintext, error) {
	value, err := d.aead.Decrypt(v.Sealed, secretData(d.user, v))
	if err != nil {
		return plaintext{}, fmt.Errorf("secret %s, version %d, of user %s: %w", v.Secret, v.Version, d.user, errSeal)
	}
	if value == nil {
		value = []byte{} // empty, which is a value
	}
	return newPlaintext(value), nil
}

func secretData(user UserID, v SecretValue) []byte {
	return associatedData("secret", string(user), string(v.Secret), strconv.FormatInt(v.Version, 10))
}

func dataKeyData(user UserID) []byte { return associatedData("data key", string(user)) }

func hostKeyData(user UserID, w WorkspaceID) []byte {
	return associatedData("host key", string(user), string(w))
}

func privateKeyData(user UserID, name string, generation int64) []byte {
	return associatedData("private key", string(user), name, strconv.FormatInt(generation, 10))
}

// associatedData names what is sealed: the purpose and the record. Each field
// goes with its length, so that no two records share an encoding.
func associatedData(purpose string, record ...string) []byte {
	data := []byte("latchkey v1")
	for _, field := range append([]string{purpose}, record...) {
		data = binary.BigEndian.AppendUint32(data, uint32(len(field)))
		data = append(data, field...)
	}
	return data
}
