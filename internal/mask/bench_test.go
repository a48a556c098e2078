package mask

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// manyValues are 200 of the length that tokens have, and more in all than
// workspaces are given.
func manyValues() (values []Value) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		b := make([]byte, 20+r.IntN(60))
		if i%50 == 0 {
			b = make([]byte, 64<<10)
		}
		for j := range b {
			b[j] = byte('!' + r.IntN(90))
		}
		values = append(values, Value{fmt.Sprint("SECRET_", i), b})
	}
	return values
}

func BenchmarkWriter(b *testing.B) {
	values := manyValues()
	s := New(values)
	r := rand.New(rand.NewPCG(3, 4))
	words := make([]byte, 1<<20) // as random as base64: nothing is likely
	for i := range words {
		words[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"[r.IntN(64)]
	}
	for _, text := range []struct {
		name string
		text []byte
	}{
		{"random", words},
		{"log", bytes.Repeat([]byte("2031-05-07T10:31:02Z INFO server: GET /index.html 200 in 3.2 ms\n"), 16<<10)},
		{"values", bytes.Repeat(append(bytes.Clone(values[1].Bytes), "\nvalue: "...), 16<<10)},
	} {
		b.Run(text.name, func(b *testing.B) {
			w := s.Writer(io.Discard)
			b.SetBytes(int64(len(text.text)))
			for b.Loop() {
				for piece := text.text; len(piece) > 0; piece = piece[min(len(piece), 4096):] {
					w.Write(piece[:min(len(piece), 4096)])
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	values := manyValues()
	b.ReportAllocs()
	for b.Loop() {
		New(values)
	}
}
