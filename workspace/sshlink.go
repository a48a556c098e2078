package workspace

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A sshMessage is what the daemon and the process that serves SSH send each other: the
// lengths of its head and its body, in four bytes each (big-endian), the head in
// JSON, and the body, which is JSON too.
type sshMessage struct {
	ID    uint64 `json:"id"`            // of a question, and of its answer; 0: no answer is wanted
	Ask   string `json:"ask,omitempty"` // what is asked for; "": this is an answer
	Error string `json:"error,omitempty"`
	File  bool   `json:"file,omitempty"` // a descriptor comes along, from the daemon only
	body  []byte // apart from the head, for encoding/json keeps copies, and it may hold secrets
}

// maxSSHError bounds what an error says, in bytes.
const maxSSHError = 500

// A sshLink is one end of the two sockets over which they speak: both ask, and
// many questions may be open at once.
type sshLink struct {
	conn    *net.UnixConn
	answer  func(ask string, body []byte, file *os.File) (any, error) // concurrently; it owns file, if there is one
	largest int                                                       // bytes that are read of one message
	places  chan struct{}                                             // one for each question that is answered at once; nil: any number
	most    int                                                       // bytes of a message that the other side reads; 0: any number
	stalled time.Duration                                             // after which the other side must have taken a message; 0: whenever
	takes   bool                                                      // descriptors

	ended   chan struct{} // closed when nothing more comes
	writing sync.Mutex
	closed  bool // for writing; guarded by writing

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan sshMessage // who has asked

	files []*os.File // that came and are not given to anybody yet; for run only
}

var errLinkEnded = errors.New("the link between the daemon and the process that serves SSH has ended")

// run receives until the other side ends, which is io.EOF, or sends what it must
// not. It waits for the answers under way.
func (l *sshLink) run() (err error) {
	var answering sync.WaitGroup
	defer answering.Wait()
	defer func() {
		close(l.ended)
		for _, f := range l.files {
			f.Close()
		}
	}()
	r := bufio.NewReader(linkReader{l})
	for {
		m, err := l.receive(r)
		if err != nil {
			return err
		}
		if m.Ask == "" {
			l.deliver(m)
			continue
		}
		var file *os.File
		if m.File && len(l.files) > 0 {
			file, l.files = l.files[0], l.files[1:]
		}
		if l.places != nil {
			l.places <- struct{}{}
		}
		answering.Go(func() {
			l.reply(m, file)
			if l.places != nil {
				<-l.places
			}
		})
	}
}

func (l *sshLink) receive(r io.Reader) (m sshMessage, err error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return m, err
	}
	head, body := int64(binary.BigEndian.Uint32(lengths[:4])), int64(binary.BigEndian.Uint32(lengths[4:]))
	if head+body > int64(l.largest) {
		return m, fmt.Errorf("a message of %d bytes: want at most %d", head+body, l.largest)
	}
	b := make([]byte, head+body)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF { // in the middle of a message, so it is no end in order
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	if err := json.Unmarshal(b[:head], &m); err != nil {
		return m, fmt.Errorf("a message that is none: %w", err)
	}
	m.body = b[head:]
	return m, nil
}

// A linkReader reads a link's bytes, and puts aside the descriptors that come
// along (unix(7), SCM_RIGHTS). A side that takes none reads as of a file: the
// kernel closes those that it is sent.
type linkReader struct{ l *sshLink }

func (r linkReader) Read(b []byte) (int, error) {
	if !r.l.takes {
		return r.l.conn.Read(b)
	}
	control := make([]byte, unix.CmsgSpace(4)) // one: the kernel puts no two messages of descriptors together
	n, cn, _, _, err := r.l.conn.ReadMsgUnix(b, control)
	if err != nil {
		return 0, err // n is -1 then
	}
	if n == 0 {
		err = io.EOF
	}
	messages, _ := unix.ParseSocketControlMessage(control[:cn])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			r.l.files = append(r.l.files, os.NewFile(uintptr(fd), "a link to an agent"))
		}
	}
	return n, err
}

// deliver gives an answer to who has asked. One who has given up is not there.
func (l *sshLink) deliver(m sshMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.waiting[m.ID]; c != nil {
		delete(l.waiting, m.ID)
		c <- m
	}
}

func (l *sshLink) reply(m sshMessage, file *os.File) {
	body, err := l.answer(m.Ask, m.body, file)
	if m.ID == 0 {
		return
	}
	answer := sshMessage{ID: m.ID}
	if err != nil {
		answer.Error = cutError(err.Error()) // what a client has said may be in it
		body = nil
	}
	l.send(answer, body, nil)
}

// ask asks the other side and waits for its answer. A file that comes along stays
// the caller's.
func (l *sshLink) ask(ctx context.Context, what string, question, answer any, file *os.File) error {
	c := make(chan sshMessage, 1)
	l.mu.Lock()
	l.last++
	id := l.last
	if l.waiting == nil {
		l.waiting = make(map[uint64]chan sshMessage)
	}
	l.waiting[id] = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
	}()
	if err := l.send(sshMessage{ID: id, Ask: what}, question, file); err != nil {
		return err
	}
	var m sshMessage
	select {
	case m = <-c:
	case <-l.ended:
		select { // what came before the end is an answer still
		case m = <-c:
		default:
			return errLinkEnded
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer clear(m.body)
	if m.Error != "" {
		return errors.New(cutError(m.Error))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(m.body, answer)
}

func cutError(text string) string { return text[:min(len(text), maxSSHError)] }

// tell asks for something that has no answer.
func (l *sshLink) tell(what string, body any) { l.send(sshMessage{Ask: what}, body, nil) }

// send sends a message. A body that is bytes is sent as it is, and wiped.
func (l *sshLink) send(m sshMessage, body any, file *os.File) (err error) {
	text, raw := body.([]byte)
	if !raw {
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	defer clear(text)
	m.File = file != nil
	head, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if n := len(head) + len(text); l.most > 0 && n > l.most { // else that is the end of the link
		return fmt.Errorf("a message of %d bytes, of which the other side reads %d", n, l.most)
	}
	frame := make([]byte, 0, 8+len(head)+len(text))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(text)))
	frame = append(append(frame, head...), text...)
	defer clear(frame)
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return errLinkEnded
	}
	if l.stalled != 0 {
		l.conn.SetWriteDeadline(time.Now().Add(l.stalled))
	}
	n := 0
	if file != nil {
		if n, _, err = l.conn.WriteMsgUnix(frame, unix.UnixRights(int(file.Fd())), nil); err != nil {
			l.conn.Close()
			return errors.Join(errLinkEnded, err)
		}
	}
	// Who does not take all of a message can be told nothing more.
	if _, err := l.conn.Write(frame[n:]); err != nil {
		l.conn.Close()
		return errors.Join(errLinkEnded, err)
	}
	return nil
}

// closeWrite sends nothing more, so that the other side ends; what it still says
// is heard.
func (l *sshLink) closeWrite() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.closed = true
	l.conn.CloseWrite()
}
