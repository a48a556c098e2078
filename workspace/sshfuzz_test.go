package workspace

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/workspace/sshd"
)

// FuzzSSHProcess says to the daemon whatever there is, in the place of the process
// that serves SSH. Each question that has a number must be answered once, with no more
// than that process may have; what can't be read must end it, and its agents go.
func FuzzSSHProcess(f *testing.F) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)) // a corpus names it
	laptop := newTestKey(f, "laptop", private, nil)
	s := newTestService(f, laptop)
	for _, sent := range sshProcessSeeds(laptop) {
		f.Add(sent)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		agents := &countedAgents{}
		s.agents, s.refusal = agents, nil
		answers, served, p, killed := talk(t, s, sent)
		said, end := messagesOf(sent)
		if want := end != ""; killed != want || want && !strings.Contains(p.err().Error(), end) {
			t.Errorf("it was killed: %t, and has ended for %v; want %t, %q", killed, p.err(), want, end)
		}
		answer := slices.IndexFunc(said, func(m sshMessage) bool { return m.Ask == "" && m.ID == 1 }) // to what the daemon has asked
		if !isServed(served, said, answer) {
			t.Errorf("message %d was the answer to the daemon, which takes it for %v", answer, served)
		}
		may := func(q, a sshMessage) bool { return mayBe(s, laptop, q, a) }
		if err := areAnswered(said, answers, may); err != nil {
			t.Error(err)
		}
		if s.refusal != nil && !slices.ContainsFunc(said, s.refusal.isOf) {
			t.Errorf("the status says %+v", s.refusal)
		}
		if agents.most > maxSSHAgents || agents.now != 0 || agents.wrong != "" {
			t.Errorf("there were %d agents at once, and %d are left%s", agents.most, agents.now, agents.wrong)
		}
	})
}

func sshProcessSeeds(laptop testKey) (seeds [][]byte) {
	const name = "ssh -A from 192.0.2.1:22"
	hash, key := make([]byte, 32), laptop.public.Marshal()
	question := func(id uint64, ask string, body any) []byte { return sshFrame(sshMessage{ID: id, Ask: ask}, body) }
	for _, said := range [][]byte{
		question(1, askAuthorized, sshLogin{[]byte("alice"), key}),
		question(2, askAuthorized, sshLogin{[]byte("mallory"), key}),
		question(3, askSign, sshToSign{Data: hash}),
		question(3, askSign, sshToSign{hash, "ssh-dss"}),
		question(4, askSign, sshToSign{Data: append(hash, make([]byte, 33)...)}),
		question(4, askSign, sshToSign{Data: hash[:19]}),
		question(5, askVariables, nil),
		question(6, askAttach, sshAgent{1, name, hash}),
		question(6, askAttach, sshAgent{2, "SSH_AUTH_SOCK", hash}),
		question(6, askAttach, sshAgent{2, name + "\n", hash}),
		question(6, askAttach, sshAgent{2, name + strings.Repeat("0", maxSSHAgentName), hash}),
		question(6, askAttach, sshAgent{2, name, nil}),
		question(7, askDetach, sshAgent{Number: 1}),
		question(8, askRefused, sshd.Refusal{User: "mallory", Keys: []string{"SHA256:x"}, Remote: "192.0.2.1:22", Why: "there is no such key"}),
		question(8, askRefused, sshd.Refusal{Why: strings.Repeat("x", maxSSHRefusal)}),
		question(0, askRefused, sshd.Refusal{User: "mallory"}),
		question(8, "key", nil),
		question(0, askAttach, sshAgent{3, name, hash}),
		sshFrame(sshMessage{ID: 1}, nil),
		sshFrame(sshMessage{ID: 1, Error: strings.Repeat("\xff", 2*maxSSHError)}, nil),
		sshFrame(sshMessage{ID: 2}, nil),
	} {
		again := question(9, askAttach, sshAgent{1, name, hash})
		seeds = append(seeds, said, said[:len(said)-1], slices.Concat(said, again), slices.Concat(said, said, again, said))
	}
	var attached [][]byte
	for number := range uint64(3) {
		attached = append(attached, question(9, askAttach, sshAgent{number, name, hash}))
	}
	return append(seeds,
		[]byte{},
		slices.Concat(attached...),
		binary.BigEndian.AppendUint64(nil, (maxSSHQuestion+1)<<32),
		binary.BigEndian.AppendUint64(nil, 4),
		append(binary.BigEndian.AppendUint64(nil, 1<<32), 'x'),
		bytes.Repeat([]byte{0xff}, 8),
	)
}

func sshFrame(m sshMessage, body any) []byte {
	head, _ := json.Marshal(m)
	text, _ := json.Marshal(body)
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	return slices.Concat(binary.BigEndian.AppendUint32(frame, uint32(len(text))), head, text)
}

// messagesOf are the messages that were sent, and what ends them: "" if nothing does.
func messagesOf(sent []byte) (said []sshMessage, end string) {
	for len(sent) > 0 {
		var lengths struct{ Head, Body uint32 }
		if n, _ := binary.Decode(sent, binary.BigEndian, &lengths); n == 0 {
			return said, io.ErrUnexpectedEOF.Error()
		}
		head, all := uint64(lengths.Head), uint64(lengths.Head)+uint64(lengths.Body)
		sent = sent[8:]
		var m sshMessage
		switch {
		case all > maxSSHQuestion:
			return said, "want at most"
		case all > uint64(len(sent)):
			return said, io.ErrUnexpectedEOF.Error()
		case json.Unmarshal(sent[:head], &m) != nil:
			return said, "a message that is none"
		}
		m.body, sent = sent[head:all], sent[all:]
		said = append(said, m)
	}
	return said, ""
}

// talk asks the process to serve, which has almost as many agents as it may, has it
// say what is sent, and returns all that it is answered.
func talk(t *testing.T, s *sshService, sent []byte) (answers []sshMessage, served error, p *sshProcess, killed bool) {
	ours, theirs := linkOf(t)
	defer theirs.Close()
	var kills atomic.Bool
	p = newSSHProcess(ours, s, func() error { return nil }, func() { kills.Store(true) })
	for i := range uint64(maxSSHAgents - 2) {
		if err := p.attach(sshAgent{1<<32 + i, "ssh -A from x", make([]byte, minExchangeHash)}); err != nil {
			t.Fatal(err)
		}
	}
	var talking sync.WaitGroup
	talking.Go(func() { served = p.serve(context.Background(), sshServing{}) })
	their, r := &sshLink{largest: maxSecrets}, bufio.NewReader(theirs)
	if m, err := their.receive(r); err != nil || m.Ask != askServe {
		t.Fatalf("the daemon asks for %q, %v; want %q", m.Ask, err, askServe)
	}
	talking.Go(func() {
		theirs.Write(sent) // as far as it is read
		theirs.CloseWrite()
	})
	for {
		m, err := their.receive(r)
		if err == io.EOF || errors.Is(err, syscall.ECONNRESET) { // not all was read
			break
		} else if err != nil {
			t.Fatalf("the daemon says what is no message: %v", err)
		}
		answers = append(answers, m)
	}
	<-p.done
	talking.Wait()
	return answers, served, p, kills.Load()
}

// isServed reports whether the daemon's question has ended as it must, with the answer
// that was the i-th message, or none if i is -1.
func isServed(served error, said []sshMessage, i int) bool {
	switch {
	case i < 0:
		return errors.Is(served, errLinkEnded)
	case said[i].Error == "":
		return served == nil
	}
	return served != nil && len(served.Error()) <= maxSSHError && strings.HasPrefix(said[i].Error, served.Error())
}

// areAnswered says why the answers are not those to the questions that were said, one
// to each that has a number.
func areAnswered(said, answers []sshMessage, may func(q, a sshMessage) bool) error {
	questions := make(map[uint64][]sshMessage)
	for _, m := range said {
		switch {
		case m.Ask == "" || m.ID == 0:
		case m.Ask == askAttach || m.Ask == askDetach:
			questions[m.ID] = append(questions[m.ID], m)
		default: // first, for it has but one answer: those may be refused or not
			questions[m.ID] = slices.Insert(questions[m.ID], 0, m)
		}
	}
	// What was done comes first, for the same reason.
	slices.SortStableFunc(answers, func(a, b sshMessage) int { return strings.Compare(a.Error, b.Error) })
	for _, a := range answers {
		i := slices.IndexFunc(questions[a.ID], func(q sshMessage) bool { return may(q, a) })
		if i < 0 {
			return fmt.Errorf("to the questions %+v the answer is %+v %s", questions[a.ID], a, a.body)
		}
		questions[a.ID] = slices.Delete(questions[a.ID], i, i+1)
	}
	for id, left := range questions {
		if len(left) > 0 {
			return fmt.Errorf("%d questions of number %d were not answered", len(left), id)
		}
	}
	return nil
}

// isOf reports whether it is what a message tells, which is within its bound.
func (r *StateSSHRefusal) isOf(m sshMessage) bool {
	told, err := parsed[sshd.Refusal](m.body)
	return m.Ask == askRefused && err == nil && len(m.body) <= maxSSHRefusal &&
		reflect.DeepEqual(told, sshd.Refusal{User: r.User, Keys: r.Keys, Remote: r.Remote, Why: r.Why})
}

var agentName = regexp.MustCompile(`^ssh -A from [ -~]*$`)

// mayBe reports whether a is an answer that the process may have to q.
func mayBe(s *sshService, laptop testKey, q, a sshMessage) bool {
	refused := a.Error != ""
	if a.Ask != "" || a.File || refused && string(a.body) != "null" || len(a.Error) > 3*maxSSHError { // bytes that are no text become three
		return false
	}
	switch q.Ask {
	case askAuthorized:
		login, err := parsed[sshLogin](q.body)
		if err == nil {
			_, err = ssh.ParsePublicKey(login.Key)
		}
		if err != nil || refused {
			return err != nil && refused
		}
		got, err := parsed[sshAuthorized](a.body)
		user := string(login.User)
		in := (user == "alice" || user == "dev") && bytes.Equal(login.Key, laptop.public.Marshal())
		return err == nil && got.OK == in && (got.Name == "laptop") == in
	case askSign:
		sign, err := parsed[sshToSign](q.body)
		ours := sign.Algorithm == "" || sign.Algorithm == ssh.KeyAlgoED25519
		if signs := err == nil && len(sign.Data) >= 20 && len(sign.Data) <= 64 && ours; !signs || refused {
			return !signs && refused
		}
		got, err := parsed[ssh.Signature](a.body)
		return err == nil && s.host.PublicKey().Verify(sign.Data, &got) == nil
	case askRefused:
		_, err := parsed[sshd.Refusal](q.body)
		return refused == (err != nil || len(q.body) > maxSSHRefusal)
	case askVariables:
		got, err := parsed[SecretState](a.body)
		return !refused && err == nil && len(got.Variables) == 1 && string(got.Variables[0].Value) == "a value"
	case askAttach, askDetach:
		_, err := parsed[sshAgent](q.body)
		return refused || err == nil && string(a.body) == "null"
	}
	return refused
}

// countedAgents counts the agents that there are.
type countedAgents struct {
	mu        sync.Mutex
	now, most int
	wrong     string
}

func (a *countedAgents) Attach(name string, id []byte, _ func(context.Context) (net.Conn, error)) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now++; a.now > a.most {
		a.most = a.now
	}
	if !agentName.MatchString(name) || len(name) > maxSSHAgentName || len(id) < 20 || len(id) > 64 {
		a.wrong += fmt.Sprintf("; one has the name %q and the session %x", name, id)
	}
	gone := false
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.now--; gone {
			a.wrong += "; one was detached twice"
		}
		gone = true
	}
}
