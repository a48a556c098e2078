package sqlstore

import (
	"database/sql"
	"fmt"
	"time"
)

// blob is text or bytes for a BLOB column: a copy, and never NULL.
func blob[T ~string | ~[]byte](v T) []byte {
	return append([]byte{}, v...)
}

// flag is a bool for an INTEGER column.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// micros is a time for a column: NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// A moment scans what micros made.
type moment struct{ t *time.Time }

func (m moment) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*m.t = time.Time{}
	case int64:
		*m.t = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a time is stored as %T", v)
	}
	return nil
}

// A bytesOrNil scans bytes of which none is nil.
type bytesOrNil struct{ b *[]byte }

func (n bytesOrNil) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok {
		return fmt.Errorf("bytes are stored as %T", v)
	}
	*n.b = append([]byte(nil), b...)
	return nil
}

// An optional scans what an outer join may leave NULL: the zero value then.
type optional[T any] struct{ v *T }

func (o optional[T]) Scan(v any) error {
	var n sql.Null[T]
	err := n.Scan(v)
	*o.v = n.V
	return err
}

// A digest scans a SHA-256 sum.
type digest struct{ sum *[32]byte }

func (d digest) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(d.sum) {
		return fmt.Errorf("a hash is stored as %T of %d bytes", v, len(b))
	}
	copy(d.sum[:], b)
	return nil
}
