package workspace

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/latchkey/latchkey/internal/mask"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A value is found wherever it stands: also across the ends of windows.
func TestFindIn(t *testing.T) {
	set := mask.New([]mask.Value{{Name: "a", Bytes: []byte("hunter2hunter2")}, {Name: "b", Bytes: []byte("correct horse")}})
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		text := bytes.Repeat([]byte{'.'}, 1+random.IntN(400))
		var want []string
		for at := random.IntN(50); at+30 < len(text); at += 30 + random.IntN(60) {
			value, name := "hunter2hunter2", "a"
			if random.IntN(2) == 0 {
				value, name = "correct horse", "b"
			}
			copy(text[at:], value)
			want = append(want, fmt.Sprint(name, at))
		}
		for _, r := range []io.Reader{bytes.NewReader(text), iotest.OneByteReader(bytes.NewReader(text)), iotest.DataErrReader(bytes.NewReader(text))} {
			var got []string
			err := findIn(set, r, make([]byte, 21+random.IntN(60)), 20, func(name string, offset int64) bool {
				got = append(got, fmt.Sprint(name, offset))
				return true
			})
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("in %q are %v, %v; want %v", text, got, err, want)
			}
		}
	}
	failing := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("text")))
	if err := findIn(set, failing, make([]byte, scanWindow), 20, nil); err != iotest.ErrTimeout {
		t.Errorf("with a reader that fails: %v; want its error", err)
	}
}

func TestScan(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 6<<10) // 96 KiB
	server := newSecretsServer(secret("env", "A", "", "hunter2hunter2"), secret("file", "", "~/key", "line one is long\nline two is long\n"), secret("long", "", "~/long", long), secret("short", "S", "", "x"))
	d := startSecretsDaemon(t, server)
	s, err := NewScanner(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	connections := 0
	connect := s.client.transport.DialContext
	s.client.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		connections++
		return connect(ctx, network, address)
	}
	pad := strings.Repeat("no secret here\n", 10_000)
	for _, tt := range []struct {
		name, text string
		want       []ScanMatch
	}{
		{"nothing", "", []ScanMatch{}},
		{"no secret", pad, []ScanMatch{}},
		{"a short one is not looked for", "x", []ScanMatch{}},
		{"one", "A=hunter2hunter2\n", []ScanMatch{{"env", 2}}},
		{"far behind", pad + "hunter2hunter2" + pad + "hunter2hunter2", []ScanMatch{{"env", 150_000}, {"env", 300_014}}},
		{"encoded", base64.StdEncoding.EncodeToString([]byte("hunter2hunter2")), []ScanMatch{{"env", 0}}},
		{"a line of a file", "x: line two is long", []ScanMatch{{"file", 3}}},
		{"larger than a window", pad + long + pad, []ScanMatch{{"long", 150_000}}},
	} {
		got, err := s.Scan(t.Context(), strings.NewReader(tt.text))
		if tt.name == "larger than a window" && len(got) > 1 {
			got = got[:1] // its beginning comes again and again
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %.100v, %v; want %v", tt.name, fmt.Sprint(got), err, tt.want)
		}
	}
	if got, err := s.Scan(t.Context(), strings.NewReader(strings.Repeat("hunter2hunter2\n", 2*maxScanMatches))); err != nil || len(got) != maxScanMatches {
		t.Errorf("in a text full of secrets are %d places, %v; want the first %d", len(got), err, maxScanMatches)
	}
	if connections != 1 {
		t.Errorf("the scans made %d connections; want all over one", connections)
	}
	server.give(secret("env", "A", "", "another secret"))
	d.wait()
	if got, err := s.Scan(t.Context(), strings.NewReader("hunter2hunter2 another secret")); err != nil || !slices.Equal(got, []ScanMatch{{"env", 15}}) {
		t.Errorf("after a change: %v, %v; want the new value", got, err)
	}
	matches, err := s.Hashes(t.Context(), api.ScanRequest{Salt: []byte("salt"), Hashes: make([]byte, 48)})
	if err != nil || len(matches) != 1 || matches[0] != (api.ScanMatch{Index: 48, Secret: "of salt"}) {
		t.Errorf("Hashes = %v, %v; want the server's answer", matches, err)
	}
}
