package sshagent

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"sync"
)

// maxIdentities is how many keys OpenSSH's client takes in a list
// (MAX_AGENT_IDENTITIES): it fails on a longer one.
const maxIdentities = 2048

// A listing is an answer in the making.
type listing struct {
	frame   []byte
	keys    int
	dropped int // keys that there was no room for
	offers  map[keyID]offer
}

// list answers SSH_AGENTC_REQUEST_IDENTITIES (RFC 9987, section 5.5).
func (s *session) list(ctx context.Context) []byte {
	l := s.collect(ctx, s.server.observe)
	binary.BigEndian.PutUint32(l.frame[5:], uint32(l.keys))
	s.log.Debug("keys listed", "keys", l.keys)
	return l.frame
}

// collect asks the Source and the upstream agents for their keys, puts the added
// ones between, and remembers who has which. One that fails does not keep the others' keys from the client.
func (s *session) collect(ctx context.Context, observe func(Activity)) *listing {
	l := &listing{frame: append(newFrame(agentIdentitiesAnswer), 0, 0, 0, 0), offers: make(map[keyID]offer)}
	s.asked = true
	s.whileConnected(ctx, func(ctx context.Context) {
		if s.server.Source != nil {
			n, err := s.collectSource(ctx, l)
			s.listed(observe, Activity{Kind: Listed, Keys: n, Err: err})
		}
		s.collectAdded(l)
		for i, list := range s.askUpstreams(ctx) {
			n := 0
			for _, id := range list.ids {
				n += l.add(id.blob, string(id.comment), offer{upstream: s.upstreams[i]})
			}
			s.listed(observe, Activity{Kind: Listed, Upstream: s.upstreams[i].Name, Keys: n, Err: list.err})
		}
	})
	if l.dropped > 0 {
		s.tell(slog.LevelWarn, "keys left out: a list holds at most 2048 keys and 256 KiB", "keys", l.dropped)
	}
	s.offers = l.offers
	return l
}

func (s *session) listed(observe func(Activity), a Activity) {
	if a.Err != nil {
		s.tell(slog.LevelWarn, "keys not listed", "upstream", a.Upstream, "err", a.Err)
	}
	observe(a)
}

func (s *session) collectSource(ctx context.Context, l *listing) (added int, err error) {
	err = guard(s.log, "listing the public keys", func() error {
		keys, err := s.server.Source.Keys(ctx)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if blob := key.Public.Marshal(); s.shown(key) {
				added += l.add(blob, key.Comment, offer{key: key})
			} else {
				l.hide(blob, offer{key: key})
			}
		}
		return nil
	})
	return added, err
}

// collectAdded adds the added keys that the client may see.
func (s *session) collectAdded(l *listing) {
	for _, key := range s.server.added().list() {
		if why := s.reach(key, nil); why != nil {
			s.tell(slog.LevelInfo, "key not shown", "key", fingerprint(key.blob), "why", why)
			s.server.keptBack(key, why)
			l.hide([]byte(key.blob), offer{added: key})
		} else {
			l.add([]byte(key.blob), key.key.Comment, offer{added: key})
		}
	}
}

type upstreamList struct {
	ids []identity
	err error
}

// askUpstreams asks all upstream agents at once, each on its own link: agents that
// people bring along are a network away, and one may have lost it.
func (s *session) askUpstreams(ctx context.Context) []upstreamList {
	lists := make([]upstreamList, len(s.upstreams))
	var asking sync.WaitGroup
	for i, u := range s.upstreams {
		asking.Go(func() {
			list := &lists[i]
			list.err = guard(s.log, "listing the keys of an upstream agent", func() (err error) {
				list.ids, err = u.identities(ctx)
				return err
			})
		})
	}
	asking.Wait()
	return lists
}

// add adds a key, if it is not in the list already, and returns how many it added.
func (l *listing) add(blob []byte, comment string, o offer) int {
	id := keyID(sha256.Sum256(blob))
	if _, ok := l.offers[id]; ok {
		return 0
	}
	if l.keys == maxIdentities || len(l.frame)-4+8+len(blob)+len(comment) > maxFrame {
		l.dropped++
		return 0
	}
	l.frame = appendString(appendString(l.frame, blob), comment)
	l.keys++
	l.offers[id] = o
	return 1
}

// hide leaves a key out that the client may not see: it is not to be had from
// others either.
func (l *listing) hide(blob []byte, o offer) {
	id := keyID(sha256.Sum256(blob))
	if _, ok := l.offers[id]; !ok {
		l.offers[id] = o
	}
}
