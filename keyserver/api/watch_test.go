package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func readAllEvents(r io.Reader) (events []WatchEvent, err error) {
	err = readEvents(r, func(e WatchEvent) error {
		events = append(events, e)
		return nil
	})
	return events, err
}

func TestReadEvents(t *testing.T) {
	changed := func(revisions ...int64) (events []WatchEvent) {
		for _, r := range revisions {
			events = append(events, WatchEvent{WatchChanged, r})
		}
		return events
	}
	for _, tt := range []struct {
		name, stream string
		want         []WatchEvent
		err          error
	}{
		{"nothing", "", nil, io.EOF},
		{"one", "id: 7\nevent: changed\ndata: {\"revision\":7}\n\n", changed(7), io.EOF},
		{"without spaces", "event:changed\ndata:{\"revision\":7}\n\n", changed(7), io.EOF},
		{"CRLF", "event: changed\r\ndata: {\"revision\":7}\r\n\r\nevent: changed\r\ndata: {\"revision\":8}\r\n\r\n", changed(7, 8), io.EOF},
		{"CR", "event: changed\rdata: {\"revision\":7}\r\revent: changed\rdata: {\"revision\":8}\r\r", changed(7, 8), io.EOF},
		{"byte order mark", "\ufeffevent: changed\ndata: {\"revision\":7}\n\n", changed(7), io.EOF},
		{"comments", ": heart-beat\n\n:\n\nevent: changed\n: here too\ndata: {\"revision\":7}\n\n", changed(7), io.EOF},
		{"data in two lines", "event: changed\ndata: {\"revision\":\ndata: 7}\n\n", changed(7), io.EOF},
		{"fields of others", "retry: 10\nevent: changed\nnonsense\ndata: {\"revision\":7,\"more\":[1]}\nx: y\n\n", changed(7), io.EOF},
		{"events of others", "event: renamed\ndata: x\n\ndata: {\"revision\":1}\n\nevent: changed\ndata: {\"revision\":7}\n\n", changed(7), io.EOF},
		{"without data", "event: changed\n\nevent: changed\ndata: {\"revision\":7}\n\n", changed(7), io.EOF},
		{"stopped", "event: stopped\ndata: {\"revision\":9}\n\n", []WatchEvent{{WatchStopped, 9}}, io.EOF},
		{"stopped, whatever it says", "event: stopped\ndata: gone\n\n", []WatchEvent{{WatchStopped, 0}}, io.EOF},
		{"cut off", "event: changed\ndata: {\"revision\":7}\n", nil, io.EOF},
		{"no revision", "event: changed\ndata: {}\n\n", nil, ErrInvalid},
		{"revision below the first", "event: changed\ndata: {\"revision\":-7}\n\n", nil, ErrInvalid},
		{"no JSON", "event: changed\ndata: seven\n\n", nil, ErrInvalid},
		{"longest line", ":" + strings.Repeat("x", maxEvent-1) + "\nevent: changed\ndata: {\"revision\":7}\n\n", changed(7), io.EOF},
		{"over-long line", "event: changed\ndata: {\"revision\":7}\n\n:" + strings.Repeat("x", maxEvent) + "\n", changed(7), ErrInvalid},
		{"endless line", strings.Repeat("x", 1<<20), nil, ErrInvalid},
		{"over-long event", strings.Repeat("data: 0123456789\n", maxEvent/10), nil, ErrInvalid},
		{"another protocol", "\x00\xff{\"message\":\"hello\"}", nil, io.EOF},
	} {
		for how, r := range map[string]io.Reader{
			"whole": strings.NewReader(tt.stream), "in bytes": iotest.OneByteReader(strings.NewReader(tt.stream)),
			"in halves": iotest.HalfReader(strings.NewReader(tt.stream)), "with its end": iotest.DataErrReader(strings.NewReader(tt.stream)),
		} {
			got, err := readAllEvents(r)
			if fmt.Sprint(got) != fmt.Sprint(tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("%s, %s: %v, %v; want %v, %v", tt.name, how, got, err, tt.want, tt.err)
			}
		}
	}
}

// An event counts as soon as its last line has ended, whatever ended it: the
// next byte may be a quarter of a minute away.
func TestReadEventsDoesNotReadAhead(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			seen := 0
			ended := make(chan error)
			go func() { ended <- readEvents(r, func(WatchEvent) error { seen++; return nil }) }()
			io.WriteString(w, "event: changed"+end+"data: {\"revision\":7}"+end+end)
			synctest.Wait()
			if seen != 1 {
				t.Errorf("after lines that end with %q, %d events were seen; want 1 before there is more to read", end, seen)
			}
			w.Close()
			<-ended
		})
	}
}

func FuzzWatch(f *testing.F) {
	f.Add("id: 7\nevent: changed\ndata: {\"revision\":7}\n\n: beat\n\nevent: stopped\r\ndata: {}\r\n\r\n")
	f.Add("\ufeffevent:changed\rdata:{\"revision\":\rdata:1}\r\r")
	f.Add("data\n\n\nevent\n\n" + strings.Repeat("x", maxEvent+1))
	f.Fuzz(func(t *testing.T, stream string) {
		got, err := readAllEvents(strings.NewReader(stream))
		if err == nil {
			t.Fatal("no error at the end")
		}
		for _, e := range got {
			if e.Kind == WatchChanged && e.Revision < 1 || e.Kind != WatchChanged && e.Kind != WatchStopped {
				t.Errorf("there is an event %+v; want changes with a revision, and stops", e)
			}
		}
		again, againErr := readAllEvents(iotest.OneByteReader(strings.NewReader(stream)))
		if fmt.Sprint(got) != fmt.Sprint(again) || err.Error() != againErr.Error() {
			t.Errorf("in whole %v, %v; in bytes %v, %v", got, err, again, againErr)
		}
	})
}

func TestWatch(t *testing.T) {
	c := newTestClient(t, "lk_w_t", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v2/workspaceagents/me/watch" || r.Header.Get("Authorization") != "Bearer lk_w_t" || r.Header.Get("Last-Event-ID") != "6" {
			t.Errorf("the request is %s %v; want the watch after 6, with the token", r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, part := range []string{": hello\n\nev", "ent: changed\nda", "ta: {\"revision\":7}\n", "\nevent: changed\ndata: {\"revision\":8}\n\n"} {
			io.WriteString(w, part)
			w.(http.Flusher).Flush()
		}
	})
	var got []WatchEvent
	err := c.Watch(t.Context(), 6, func(e WatchEvent) error {
		got = append(got, e)
		return nil
	})
	if want := []WatchEvent{{}, {WatchChanged, 7}, {WatchChanged, 8}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the watch saw %v; want %v", got, want)
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("at the end of the stream: %v; want ErrUnavailable", err)
	}
}

func TestWatchRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		handle http.HandlerFunc
		want   error
	}{
		{"revoked", answers(401, `{"message":"the token was revoked"}`), ErrUnauthenticated},
		{"disabled", answers(403, `{"message":"the user is disabled"}`), ErrForbidden},
		{"older server", answers(404, `{"message":"there is nothing at this address"}`), ErrNotFound},
		{"ingress without its server", answers(404, "default backend - 404"), ErrUnavailable},
		{"ingress that wants a login", answers(401, "<html>"), ErrUnavailable},
		{"busy", answers(503, ""), ErrUnavailable},
		{"moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, ErrUnavailable},
		{"another program", answers(200, "<html>"), ErrUnavailable},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable},
	} {
		c := newTestClient(t, "lk_w_t", tt.handle)
		err := c.Watch(t.Context(), 0, func(e WatchEvent) error {
			t.Errorf("%s: there is an event %v; want none", tt.name, e)
			return nil
		})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, err, tt.want)
		}
	}
}

func TestWatchEndsWithItsHandler(t *testing.T) {
	c := newTestClient(t, "lk_w_t", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: stopped\ndata: {\"revision\":1}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	enough := errors.New("enough")
	for _, last := range []WatchKind{"", WatchStopped} {
		err := c.Watch(t.Context(), 0, func(e WatchEvent) error {
			if e.Kind == last {
				return enough
			}
			return nil
		})
		if err != enough {
			t.Errorf("with an error of the handler at an event %q: %v; want that error", last, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Watch(ctx, 0, func(e WatchEvent) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its context has ended: %v; want context.Canceled", err)
	}
}

// answerWith is a transport that has one answer.
type answerWith struct{ body io.ReadCloser }

func (a answerWith) RoundTrip(r *http.Request) (*http.Response, error) {
	// As net/http does, the end of the request ends its body.
	context.AfterFunc(r.Context(), func() { a.body.Close() })
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: a.body, Request: r}, nil
}

func TestWatchNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		u, err := parseURL(DefaultURL)
		if err != nil {
			t.Fatal(err)
		}
		c := &Client{base: u, token: func() string { return "" }, http: &http.Client{Transport: answerWith{r}}}
		began := time.Now()
		ended := make(chan error)
		go func() { ended <- c.Watch(t.Context(), 0, func(WatchEvent) error { return nil }) }()
		for range 40 { // ten minutes of heart-beats are no silence
			time.Sleep(15 * time.Second)
			io.WriteString(w, ": beat\n\n")
		}
		err = <-ended
		if lived := time.Since(began); lived != 10*time.Minute+watchSilence {
			t.Errorf("the watch lived %v; want the heart-beats and then %v", lived, watchSilence)
		}
		if !errors.Is(err, errSilent) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("the silent watch ended with %v; want that the server says nothing", err)
		}
	})
}
