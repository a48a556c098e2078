package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
)

func (s *Store) KnownHostsRevision(ctx context.Context) (int64, error) {
	revision, err := one(ctx, s, func(v *int64) []any { return []any{v} }, `SELECT revision FROM known_hosts_revision`)
	return revision, doing(err, "revision of the known hosts")
}

// A knownHostRow is the revision and one of the hosts, or none: see secretRow.
type knownHostRow struct {
	revision int64
	found    bool
	host     keyserver.KnownHost
}

func knownHostFields(r *knownHostRow) []any {
	h := &r.host
	return []any{
		&r.revision, &r.found, optional[string]{(*string)(&h.ID)}, optional[string]{&h.Marker}, optional[string]{&h.Hosts},
		optional[string]{&h.KeyType}, &h.Key, optional[string]{&h.Comment}, moment{&h.CreatedAt}, optional[string]{(*string)(&h.CreatedBy)},
	}
}

func (s *Store) KnownHosts(ctx context.Context) ([]keyserver.KnownHost, int64, error) {
	rows, err := list(ctx, s, knownHostFields, `SELECT r.revision, h.seq IS NOT NULL, h.id, h.marker, h.hosts,
			h.key_type, h.key, h.comment, h.created_at, h.created_by
		FROM known_hosts_revision r LEFT JOIN known_hosts h ON TRUE ORDER BY h.seq`)
	var hosts []keyserver.KnownHost
	var revision int64
	for _, r := range rows {
		revision = r.revision
		if r.found {
			hosts = append(hosts, r.host)
		}
	}
	return hosts, revision, doing(err, "list the known hosts")
}

func (s *Store) AddKnownHosts(ctx context.Context, hosts []keyserver.KnownHost, e keyserver.Event) error {
	var rows [][]any
	for _, h := range hosts {
		rows = append(rows, []any{blob(h.ID), blob(h.Marker), blob(h.Hosts), blob(h.KeyType), blob(h.Key), blob(h.Comment), micros(h.CreatedAt), blob(h.CreatedBy)})
	}
	err := s.change(ctx, e, func(tx *tx) error {
		for _, row := range rows {
			if _, err := tx.exec(`INSERT INTO known_hosts (id, marker, hosts, key_type, key, comment, created_at, created_by)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, row...); err != nil {
				return err
			}
		}
		return tx.reviseKnownHosts()
	})
	return doing(err, "add %d known hosts", len(hosts))
}

func (s *Store) DeleteKnownHost(ctx context.Context, id keyserver.KnownHostID, e keyserver.Event) error {
	args := []any{blob(id)}
	err := s.change(ctx, e, func(tx *tx) error {
		if err := tx.execOne(`DELETE FROM known_hosts WHERE id = $1`, args...); err != nil {
			return err
		}
		return tx.reviseKnownHosts()
	})
	return doing(err, "delete known host %s", id)
}

func (t *tx) reviseKnownHosts() error {
	return t.execOne(`UPDATE known_hosts_revision SET revision = revision + 1`)
}
