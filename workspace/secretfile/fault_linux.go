package secretfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A fault is why a file is not delivered, or not removed.
type fault struct {
	state  api.DeliveryState
	detail string
}

func (f *fault) Error() string { return f.detail }

func blocked(format string, args ...any) error {
	return &fault{api.Blocked, fmt.Sprintf(format, args...)}
}

// faultOf is the fault that an error is, or that of a system call that failed.
func faultOf(doing string, err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	hint := ""
	switch {
	case errors.Is(err, unix.ENOSPC):
		hint = ": the disk is full; make room"
	case errors.Is(err, unix.EDQUOT):
		hint = ": your disk quota is used up; make room"
	case errors.Is(err, unix.EROFS):
		hint = ": the file system is read-only; choose another path"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = ": you have no permission; choose another path, or change the directory's mode"
	case errors.Is(err, unix.ENAMETOOLONG):
		hint = ": the file system takes no name this long; choose another path"
	default:
		hint = ": " + err.Error()
	}
	return &fault{api.Failed, doing + hint}
}

func failed(doing string, err error) error { return faultOf(doing, err) }
