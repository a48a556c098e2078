package workspace

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

// A value is found at every place around the end of a window, in a long form
// too.
func TestScanAtTheEndOfAWindow(t *testing.T) {
	value := strings.Repeat("sesame-", 15)
	form := base64.StdEncoding.EncodeToString([]byte(value))
	d := startSecretsDaemon(t, newSecretsServer(secret("s", "S", "", value)))
	s, err := NewScanner(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, text := range []string{value, form} {
		for at := scanWindow - len(text) - 5; at < scanWindow+5; at += 3 {
			got, err := s.Scan(t.Context(), strings.NewReader(strings.Repeat(".", at)+text+"."))
			if err != nil || !slices.Equal(got, []ScanMatch{{"s", int64(at)}}) {
				t.Fatalf("%.10s… at %d: found %v, %v", text, at, got, err)
			}
		}
	}
}

// The values that a scan has prepared are not kept when there are others, nor when
// nobody scans.
func TestScanKeepsNoValues(t *testing.T) {
	server := newSecretsServer(secret("s", "S", "", "first-value"))
	d := startSecretsDaemon(t, server)
	s, err := NewScanner(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Scan(t.Context(), strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	kept := func() bool {
		d.Daemon.secrets.scanning.mu.Lock()
		defer d.Daemon.secrets.scanning.mu.Unlock()
		return d.Daemon.secrets.scanning.set != nil
	}
	if !kept() {
		t.Fatal("the set is not kept for the next scan")
	}
	d.Daemon.secrets.scanning.drop() // as its timer does
	if got, err := s.Scan(t.Context(), strings.NewReader("first-value")); err != nil || len(got) != 1 {
		t.Errorf("after the set was dropped: %v, %v; want the value found", got, err)
	}
}
