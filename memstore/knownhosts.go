package memstore

import (
	"bytes"
	"context"
	"slices"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func cloneKnownHost(h keyserver.KnownHost) keyserver.KnownHost {
	h.Key = bytes.Clone(h.Key)
	h.CreatedAt = stored(h.CreatedAt)
	return h
}

func (s *Store) KnownHostsRevision(ctx context.Context) (int64, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return s.hostsAt, nil
}

func (s *Store) KnownHosts(ctx context.Context) ([]keyserver.KnownHost, int64, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	var hosts []keyserver.KnownHost
	for _, h := range s.knownHosts {
		hosts = append(hosts, cloneKnownHost(h))
	}
	return hosts, s.hostsAt, nil
}

func (s *Store) AddKnownHosts(ctx context.Context, add []keyserver.KnownHost, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		hosts := slices.Clone(s.knownHosts)
		for _, h := range add {
			if slices.ContainsFunc(hosts, func(o keyserver.KnownHost) bool { return o.ID == h.ID || sameHost(o, h) }) {
				return api.ErrConflict
			}
			hosts = append(hosts, cloneKnownHost(h))
		}
		s.knownHosts = hosts
		s.hostsAt++
		return nil
	})
}

func sameHost(a, b keyserver.KnownHost) bool {
	return a.Marker == b.Marker && a.Hosts == b.Hosts && bytes.Equal(a.Key, b.Key)
}

func (s *Store) DeleteKnownHost(ctx context.Context, id keyserver.KnownHostID, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		i := slices.IndexFunc(s.knownHosts, func(h keyserver.KnownHost) bool { return h.ID == id })
		if i < 0 {
			return api.ErrNotFound
		}
		s.knownHosts = slices.Delete(s.knownHosts, i, i+1)
		s.hostsAt++
		return nil
	})
}
