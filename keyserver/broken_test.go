package keyserver_test

import (
	"context"
	"sync"

	"github.com/latchkey/latchkey/keyserver"
)

// A brokenStore is a store that can be told to fail, or to change what it reads.
type brokenStore struct {
	keyserver.Store

	mu     sync.Mutex
	check  error                                 // of MasterKeyCheck
	record error                                 // of Record
	fetch  error                                 // of RecordFetch and RecordSign
	stall  bool                                  // Keys waits until its context ends
	keys   func([]keyserver.Key) []keyserver.Key // what Keys reads
	user   func(keyserver.User) keyserver.User   // what User reads
	values func([]keyserver.SecretValue)         // changes what CurrentValues reads
	look   error                                 // of Revision
}

func (b *brokenStore) set(f func(*brokenStore)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

func (b *brokenStore) MasterKeyCheck(ctx context.Context) ([]byte, error) {
	b.mu.Lock()
	err := b.check
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return b.Store.MasterKeyCheck(ctx)
}

func (b *brokenStore) Record(ctx context.Context, e keyserver.Event) error {
	b.mu.Lock()
	err := b.record
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.Store.Record(ctx, e)
}

func (b *brokenStore) RecordFetch(ctx context.Context, user keyserver.UserID, name string, generation int64, by keyserver.WorkspaceID, e keyserver.Event) error {
	b.mu.Lock()
	err := b.fetch
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.Store.RecordFetch(ctx, user, name, generation, by, e)
}

func (b *brokenStore) RecordSign(ctx context.Context, user keyserver.UserID, name string, generation, settings int64, e keyserver.Event) error {
	b.mu.Lock()
	err := b.fetch
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.Store.RecordSign(ctx, user, name, generation, settings, e)
}

func (b *brokenStore) Keys(ctx context.Context, user keyserver.UserID) ([]keyserver.Key, error) {
	b.mu.Lock()
	change, stall := b.keys, b.stall
	b.mu.Unlock()
	if stall {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	keys, err := b.Store.Keys(ctx, user)
	if change != nil {
		keys = change(keys)
	}
	return keys, err
}

func (b *brokenStore) User(ctx context.Context, id keyserver.UserID) (keyserver.User, error) {
	b.mu.Lock()
	change := b.user
	b.mu.Unlock()
	u, err := b.Store.User(ctx, id)
	if change != nil {
		u = change(u)
	}
	return u, err
}

func (b *brokenStore) CurrentValues(ctx context.Context, id keyserver.UserID) ([]keyserver.Secret, []keyserver.SecretValue, int64, error) {
	b.mu.Lock()
	change := b.values
	b.mu.Unlock()
	secrets, values, revision, err := b.Store.CurrentValues(ctx, id)
	if change != nil {
		change(values)
	}
	return secrets, values, revision, err
}

func (b *brokenStore) Revision(ctx context.Context, id keyserver.UserID) (int64, error) {
	b.mu.Lock()
	err := b.look
	b.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return b.Store.Revision(ctx, id)
}
