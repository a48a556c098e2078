package keyserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

// Fetches of a private key over TLS, sealed and audited, against a bare TLS
// server that answers as many bytes, in turns of the same run. The store is in
// memory: what a durable one adds is measured where one is.
func BenchmarkFetchKey(b *testing.B) {
	s, err := keyserver.New(b.Context(), keyserver.Config{Store: memstore.New(), MasterKey: newMasterKey(b)})
	if err != nil {
		b.Fatal(err)
	}
	token, _, err := s.FirstAdmin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewTLSServer(s.Handler())
	defer server.Close()
	client := server.Client()
	var workspace api.CreatedWorkspace
	request(b, client, "POST", server.URL+"/api/v2/users/me/workspaces", token, api.CreateWorkspaceRequest{Name: "laptop"}, &workspace)
	var keys []api.Key
	request(b, client, "GET", server.URL+"/api/v2/workspaceagents/me/keys", workspace.Token.Token, nil, &keys)
	r, err := api.NewRecipient()
	if err != nil {
		b.Fatal(err)
	}
	body, err := json.Marshal(api.FetchKeyRequest{Fingerprint: keys[0].Fingerprint, Recipient: r.PublicKey()})
	if err != nil {
		b.Fatal(err)
	}
	bare := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(make([]byte, 96))
	}))
	defer bare.Close()
	for _, connections := range []int{1, 16} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			var fetching, idle time.Duration
			const turn = 200
			for done := 0; done < b.N; done += turn {
				n := min(turn, b.N-done)
				fetching += post(b, client, server.URL+"/api/v2/workspaceagents/me/keys/fetch", workspace.Token.Token, body, connections, n)
				idle += post(b, bare.Client(), bare.URL, workspace.Token.Token, body, connections, n)
			}
			b.ReportMetric(float64(b.N)/fetching.Seconds(), "fetches/s")
			b.ReportMetric(float64(b.N)/idle.Seconds(), "bare/s")
			b.ReportMetric(idle.Seconds()/fetching.Seconds(), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// post sends n requests over some connections, and returns how long that took.
func post(b *testing.B, client *http.Client, url, token string, body []byte, connections, n int) time.Duration {
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = connections
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	begin := time.Now()
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for range work {
				r, err := http.NewRequest("POST", url, bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					b.Errorf("%s answers %s", url, resp.Status)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(begin)
}

// request sends one request and decodes its answer.
func request(b *testing.B, client *http.Client, method, url, token string, in, out any) {
	b.Helper()
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			b.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode >= 300 {
		b.Fatalf("%s %s answers %s, %v", method, url, resp.Status, err)
	}
}
