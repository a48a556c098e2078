package workspace

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestSecretsRetryReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "", "one"))
		st := newSyncTest(t, server)
		failures := 3
		st.secretSync.server = unreportable{server, &failures, api.ErrUnavailable}
		defer st.begin()()
		st.pass(time.Minute)
		if _, _, reports := server.counts(); failures != 0 || len(reports) != 1 {
			t.Errorf("%d failures are left and %d reports were taken; want the report tried until it was taken, once", failures, len(reports))
		}
		// What is refused for what it says may be taken by a newer server.
		failures = 3
		st.secretSync.server = unreportable{server, &failures, api.ErrInvalid}
		server.give()
		st.pass(time.Minute)
		if _, _, reports := server.counts(); failures != 0 || len(reports) != 2 {
			t.Errorf("%d failures are left and %d reports were taken; want the second one tried until it was taken", failures, len(reports))
		}
	})
}

// picky takes no item of one secret, and says which that is.
type picky struct {
	*secretsServer
	secret string
}

func (p picky) ReportDelivery(ctx context.Context, r api.DeliveryReport) error {
	for i, item := range r.Items {
		if item.Secret == p.secret {
			return &api.Error{Kind: api.ErrInvalid, Message: "the report can't be stored", Validations: []api.Validation{{Field: fmt.Sprintf("items[%d].where", i), Detail: "must be a path"}}}
		}
	}
	return p.secretsServer.ReportDelivery(ctx, r)
}

func TestSecretsReportWithoutAnItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "", "one"), secret("b", "B", "", "two"), secret("c", "C", "", "three"))
		st := newSyncTest(t, server)
		st.secretSync.server = picky{server, "b"}
		defer st.begin()()
		st.pass(time.Hour)
		_, _, reports := server.counts()
		if len(reports) != 1 || len(reports[0].Items) != 2 || reports[0].Items[1].Secret != "c" {
			t.Errorf("the reports are %+v; want one, without b", reports)
		}
	})
}

// Whatever the server wants and the system says, the report is one that a server takes.
func TestSecretsReportIsPresentable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A\n\x1b[1m", "~/a\u0085", "one"), secret("b", strings.Repeat("B", 5000), "~/b", "two"))
		st := newSyncTest(t, server)
		st.files.states = map[string]api.DeliveryState{"~/b": api.Failed}
		st.files.detail = strings.Repeat("é\n", 1000)
		defer st.begin()()
		_, _, reports := server.counts()
		if len(reports) != 1 || len(reports[0].Items) != 4 {
			t.Fatalf("the reports are %+v; want one of four targets", reports)
		}
		for _, item := range reports[0].Items {
			for _, text := range []string{item.Where, item.Detail} {
				if strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("it says %q, with control characters", text)
				}
			}
			if len(item.Detail) == 0 || len(item.Detail) > api.MaxDetail || len(item.Where) > api.MaxFilePath {
				t.Errorf("a detail has %d bytes and a place %d; want some, and %d and %d at most", len(item.Detail), len(item.Where), api.MaxDetail, api.MaxFilePath)
			}
		}
	})
}

type unreportable struct {
	*secretsServer
	failures *int
	err      error
}

func (u unreportable) ReportDelivery(ctx context.Context, r api.DeliveryReport) error {
	if *u.failures > 0 {
		*u.failures--
		return u.err
	}
	return u.secretsServer.ReportDelivery(ctx, r)
}
