package workspace

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A secretsServer is a key server as far as secrets go. It is asked directly, or
// over HTTP by its routes.
type secretsServer struct {
	mu       sync.Mutex
	given    api.WorkspaceSecrets
	raw      []byte // sealed in the place of given, if not nil
	err      error  // what every request fails with
	watchErr error  // what watches fail with besides
	fetchErr error  // and fetches of secrets
	fetches  int
	watches  int
	after    []int64 // of each watch
	reports  []api.DeliveryReport
	hosts    int           // changes of the known hosts, which are told with the revision of the event before
	told     chan struct{} // closed and made anew with each change
}

func newSecretsServer(secrets ...api.DeliveredSecret) *secretsServer {
	return &secretsServer{given: api.WorkspaceSecrets{Revision: 1, Secrets: secrets, Requirements: []api.Requirement{}}, told: make(chan struct{})}
}

// secret is one with a value and targets, "" for none.
func secret(name, env, file, value string) api.DeliveredSecret {
	return api.DeliveredSecret{ID: "id-" + name, Name: name, EnvName: env, FilePath: file, Version: 1, SecretValue: api.SecretValue{ValueBase64: []byte(value)}}
}

// become changes the server, and tells who watches.
func (s *secretsServer) become(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.told)
	s.told = make(chan struct{})
}

// give changes the secrets, and so the revision.
func (s *secretsServer) give(secrets ...api.DeliveredSecret) {
	s.become(func() {
		s.given.Secrets = secrets
		s.given.Revision++
	})
}

func (s *secretsServer) counts() (fetches, watches int, reports []api.DeliveryReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches, s.watches, append([]api.DeliveryReport{}, s.reports...)
}

func (s *secretsServer) FetchSecrets(ctx context.Context, r api.FetchSecretsRequest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	if err := cmp.Or(s.err, s.fetchErr); err != nil {
		return nil, err
	}
	opened := s.raw
	if opened == nil {
		var err error
		if opened, err = json.Marshal(s.given); err != nil {
			return nil, err
		}
	}
	return api.SealSecrets(r.Recipient, opened)
}

func (s *secretsServer) ReportDelivery(_ context.Context, r api.DeliveryReport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.reports = append(s.reports, r)
	return nil
}

func (s *secretsServer) Watch(ctx context.Context, after int64, handle func(api.WatchEvent) error) error {
	s.mu.Lock()
	s.watches++
	s.after = append(s.after, after)
	hosts := s.hosts
	s.mu.Unlock()
	for first := true; ; first = false {
		s.mu.Lock()
		err, revision, told, changed := s.err, s.given.Revision, s.told, s.given.Revision != after || s.hosts != hosts
		hosts = s.hosts
		if err == nil {
			err = s.watchErr
		}
		s.mu.Unlock()
		switch {
		case err != nil && !first && isRefusal(err):
			if err := handle(api.WatchEvent{Kind: api.WatchStopped, Revision: after}); err != nil {
				return err
			}
			return api.ErrUnavailable
		case err != nil:
			return err
		}
		if first {
			if err := handle(api.WatchEvent{}); err != nil {
				return err
			}
		}
		if changed {
			after = revision
			if err := handle(api.WatchEvent{Kind: api.WatchChanged, Revision: revision}); err != nil {
				return err
			}
		}
		select {
		case <-told:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// routes adds what the server answers over HTTP.
func (s *secretsServer) routes(t *testing.T, mux *http.ServeMux) {
	const base = "/api/v2/workspaceagents/me"
	mux.HandleFunc("POST "+base+"/secrets/fetch", func(w http.ResponseWriter, r *http.Request) {
		var request api.FetchSecretsRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		sealed, err := s.FetchSecrets(r.Context(), request)
		respond(w, sealed, err)
	})
	mux.HandleFunc("PUT "+base+"/secrets/status", func(w http.ResponseWriter, r *http.Request) {
		var report api.DeliveryReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			t.Error(err)
		}
		respond(w, nil, s.ReportDelivery(r.Context(), report))
	})
	mux.HandleFunc("POST "+base+"/secrets/scan", func(w http.ResponseWriter, r *http.Request) {
		var request api.ScanRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		respond(w, []byte(fmt.Sprintf(`[{"index":%d,"secret":"of %s"}]`, len(request.Hashes), request.Salt)), nil)
	})
	mux.HandleFunc("GET "+base+"/watch", func(w http.ResponseWriter, r *http.Request) {
		var after int64
		fmt.Sscan(r.Header.Get("Last-Event-ID"), &after)
		err := s.Watch(r.Context(), after, func(e api.WatchEvent) error {
			if e.Kind == "" {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, ":\n\n")
			} else {
				fmt.Fprintf(w, "id: %d\nevent: %s\ndata: {\"revision\":%[1]d}\n\n", e.Revision, e.Kind)
			}
			return http.NewResponseController(w).Flush()
		})
		if w.Header().Get("Content-Type") == "" {
			respond(w, nil, err)
		}
	})
}
