package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// Compare asks two empty stores the same, a thousand random things chosen so
// that they get in each other's way, and looks whether both answer the same
// and hold the same afterwards.
func Compare(t *testing.T, a, b keyserver.Store) {
	seed := rand.Uint64()
	r := &random{rand.New(rand.NewPCG(seed, 0)), t}
	var log []string
	for i := range 1000 {
		what, change := r.operation()
		log = append(log, what)
		e := event(what)
		e.At = r.time()
		errA, errB := kindOf(change(a, e)), kindOf(change(b, e))
		if errA != errB {
			t.Fatalf("seed %d, step %d: %s = %v in one store and %v in the other, after\n%s", seed, i, what, errA, errB, strings.Join(log, "\n"))
		}
		if i%50 != 0 {
			continue
		}
		if dumpA, dumpB := dump(t, a), dump(t, b); dumpA != dumpB {
			t.Fatalf("seed %d, step %d: one store holds\n%s\nand the other\n%s\nafter\n%s", seed, i, dumpA, dumpB, strings.Join(log, "\n"))
		}
	}
}

// kindOf is the kind of an error in the contract: what else it says is each
// store's own.
func kindOf(err error) error {
	for _, kind := range []error{api.ErrNotFound, api.ErrConflict} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// random makes operations out of few names, so that they meet.
type random struct {
	*rand.Rand
	t *testing.T
}

func (r *random) owner() string { return string("abc"[r.IntN(3)]) }
func (r *random) name() string  { return []string{"a", "A", "a\x00", "%"}[r.IntN(4)] }

func (r *random) time() time.Time {
	if r.IntN(20) == 0 {
		return time.Time{}
	}
	return epoch.Add(time.Duration(r.IntN(10)) * time.Hour)
}

func (r *random) key() keyserver.Key {
	k := key(r.owner(), r.name(), int64(r.IntN(4)+1))
	k.Fingerprint = fmt.Sprint("SHA256:", r.IntN(12))
	k.UpdatedAt = r.time()
	return k
}

func (r *random) token(owner string) keyserver.Token {
	t := token(owner, fmt.Sprint(r.IntN(20)))
	t.CreatedAt, t.ExpiresAt = r.time(), r.time()
	return t
}

// operation is one change, ready to be made in several stores alike.
func (r *random) operation() (string, func(keyserver.Store, keyserver.Event) error) {
	ctx := r.t.Context()
	owner, name, k, expires := r.owner(), r.name(), r.key(), r.time()
	id := keyserver.UserID("user-" + owner)
	w, t := workspace(owner, name), r.token(owner)
	switch r.IntN(23) {
	case 0, 1:
		u, k := user(owner), r.key()
		u.Name = r.owner()
		k.UserID = id
		return fmt.Sprintf("CreateUser(%s named %s, %s, %s)", u.ID, u.Name, k.Fingerprint, t.ID), func(s keyserver.Store, e keyserver.Event) error {
			return s.CreateUser(ctx, u, k, t, e)
		}
	case 2:
		u := user(owner)
		u.Version, u.Disabled, u.Role = int64(r.IntN(3)+1), r.IntN(2) == 0, api.RoleAuditor
		return fmt.Sprintf("UpdateUser(%s, version %d)", owner, u.Version), func(s keyserver.Store, e keyserver.Event) error {
			return s.UpdateUser(ctx, u, e)
		}
	case 3:
		if r.IntN(5) != 0 {
			break // else there would hardly ever be anybody
		}
		return "DeleteUser(" + owner + ")", func(s keyserver.Store, e keyserver.Event) error { return s.DeleteUser(ctx, id, e) }
	case 4:
		k.Generation = 1
		return fmt.Sprintf("CreateKey(%s %q, %s)", k.UserID, k.Name, k.Fingerprint), func(s keyserver.Store, e keyserver.Event) error {
			return s.CreateKey(ctx, k, e)
		}
	case 5, 6, 7:
		return fmt.Sprintf("RotateKey(%s %q to %d, %s at %v, old until %v)", k.UserID, k.Name, k.Generation, k.Fingerprint, k.UpdatedAt, expires),
			func(s keyserver.Store, e keyserver.Event) error { return s.RotateKey(ctx, k, expires, e) }
	case 8:
		return fmt.Sprintf("DeleteKey(%s %q)", owner, name), func(s keyserver.Store, e keyserver.Event) error { return s.DeleteKey(ctx, id, name, e) }
	case 9:
		return fmt.Sprintf("RecordFetch(%s %q, %d)", k.UserID, k.Name, k.Generation), func(s keyserver.Store, e keyserver.Event) error {
			return s.RecordFetch(ctx, k.UserID, k.Name, k.Generation, w.ID, e)
		}
	case 10:
		return fmt.Sprintf("CreateWorkspace(%s %q, %s)", owner, name, t.ID), func(s keyserver.Store, e keyserver.Event) error {
			return s.CreateWorkspace(ctx, w, of(w, t), e)
		}
	case 11:
		return fmt.Sprintf("DeleteWorkspace(%q)", w.ID), func(s keyserver.Store, e keyserver.Event) error { return s.DeleteWorkspace(ctx, w.ID, e) }
	case 12:
		if r.IntN(2) == 0 {
			t = of(w, t)
		}
		return fmt.Sprintf("CreateToken(%s of %q)", t.ID, t.WorkspaceID), func(s keyserver.Store, e keyserver.Event) error { return s.CreateToken(ctx, t, e) }
	case 13:
		w.Version = int64(r.IntN(3) + 1)
		return fmt.Sprintf("UpdateWorkspace(%q, version %d)", w.ID, w.Version), func(s keyserver.Store, e keyserver.Event) error {
			return s.UpdateWorkspace(ctx, w, e)
		}
	case 14:
		d := delivery(w, int64(r.IntN(3)))
		return fmt.Sprintf("ReportDelivery(%q, revision %d)", w.ID, d.Revision), func(s keyserver.Store, e keyserver.Event) error {
			return s.ReportDelivery(ctx, d, e)
		}
	case 15, 16, 17:
		c, late := r.secretChange(), int64(r.IntN(10)/9)
		return fmt.Sprintf("ChangeSecrets(%s, %d late, %+v)", owner, late, c), func(s keyserver.Store, e keyserver.Event) error {
			revision, err := s.Revision(ctx, id)
			if err != nil {
				return err
			}
			return s.ChangeSecrets(ctx, id, revision-late, c, e)
		}
	case 18:
		set := keySettings(int64(r.IntN(3)))
		return fmt.Sprintf("UpdateKey(%s %q, version %d)", owner, name, set.Version), func(s keyserver.Store, e keyserver.Event) error {
			return s.UpdateKey(ctx, id, name, set, e)
		}
	case 19:
		version := int64(r.IntN(3))
		return fmt.Sprintf("RecordSign(%s %q, %d, settings %d)", k.UserID, k.Name, k.Generation, version), func(s keyserver.Store, e keyserver.Event) error {
			return s.RecordSign(ctx, k.UserID, k.Name, k.Generation, version, e)
		}
	case 20, 21:
		return r.knownHostOperation()
	}
	return fmt.Sprintf("RevokeToken(%s)", t.ID), func(s keyserver.Store, e keyserver.Event) error { return s.RevokeToken(ctx, t.ID, e) }
}

// knownHostOperation is a change of known hosts, of few IDs, hosts and keys.
func (r *random) knownHostOperation() (string, func(keyserver.Store, keyserver.Event) error) {
	ctx := r.t.Context()
	host := func() keyserver.KnownHost {
		h := knownHost(r.name())
		h.ID, h.Key, h.CreatedAt = keyserver.KnownHostID(fmt.Sprint(r.IntN(12))), []byte(r.name()), r.time()
		return h
	}
	if h := host(); r.IntN(2) == 0 {
		return fmt.Sprintf("DeleteKnownHost(%s)", h.ID), func(s keyserver.Store, e keyserver.Event) error { return s.DeleteKnownHost(ctx, h.ID, e) }
	}
	hosts := []keyserver.KnownHost{host()}
	for range r.IntN(2) {
		hosts = append(hosts, host())
	}
	return fmt.Sprintf("AddKnownHosts(%+v)", hosts), func(s keyserver.Store, e keyserver.Event) error { return s.AddKnownHosts(ctx, hosts, e) }
}

// secretChange is a change of secrets whose IDs are of all owners.
func (r *random) secretChange() keyserver.SecretChange {
	id := func() keyserver.SecretID { return keyserver.SecretID(fmt.Sprint(r.IntN(6))) }
	c := keyserver.SecretChange{Keep: r.IntN(4)}
	if r.IntN(3) == 0 {
		c.Delete = append(c.Delete, id())
	}
	for range r.IntN(4) {
		s := secret("a", r.name())
		s.ID, s.Version, s.UpdatedAt = id(), int64(r.IntN(4)+1), r.time()
		s.EnvName, s.FilePath = []string{"", "A", "a", "a\x00"}[r.IntN(4)], []string{"", "~/a", "~/A"}[r.IntN(3)]
		c.Put = append(c.Put, s)
	}
	for range r.IntN(3) {
		c.Values = append(c.Values, value(id(), int64(r.IntN(6)+1)))
	}
	return c
}
