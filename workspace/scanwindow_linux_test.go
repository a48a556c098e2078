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
