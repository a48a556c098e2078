package memstore_test

import (
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/storetest"
	"github.com/latchkey/latchkey/memstore"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) keyserver.Store { return memstore.New() })
}
