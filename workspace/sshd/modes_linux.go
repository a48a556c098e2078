package sshd

import (
	"os"

	"golang.org/x/sys/unix"
)

// characters are the control characters by their modes (RFC 4254, section 8).
var characters = map[byte]int{
	1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
	8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 18: unix.VDISCARD,
}

// flags are the rest: which field of termios, which bit. IUTF8 is RFC 8160's.
var (
	inputFlags = map[byte]uint32{
		30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR, 36: unix.ICRNL,
		37: unix.IUCLC, 38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: unix.IUTF8,
	}
	localFlags = map[byte]uint32{
		50: unix.ISIG, 51: unix.ICANON, 52: unix.XCASE, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL,
		57: unix.NOFLSH, 58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
	}
	outputFlags = map[byte]uint32{70: unix.OPOST, 71: unix.OLCUC, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET}
	// The size of a character (90 and 91) is left at 8 bits, as all have it today.
	controlFlags = map[byte]uint32{92: unix.PARENB, 93: unix.PARODD}
)

// setModes sets the modes of a terminal that this system knows. The speeds (128
// and 129) mean nothing on a pseudo-terminal.
func setModes(tty *os.File, modes map[byte]uint32) error {
	if len(modes) == 0 {
		return nil
	}
	return control(tty, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		apply(t, modes)
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
}

func apply(t *unix.Termios, modes map[byte]uint32) {
	for mode, value := range modes {
		if i, ok := characters[mode]; ok {
			t.Cc[i] = uint8(value)
			if value == 255 { // not set
				t.Cc[i] = 0 // _POSIX_VDISABLE
			}
		}
		for _, f := range []struct {
			field *uint32
			bits  map[byte]uint32
		}{{&t.Iflag, inputFlags}, {&t.Lflag, localFlags}, {&t.Oflag, outputFlags}, {&t.Cflag, controlFlags}} {
			if bit, ok := f.bits[mode]; ok && value != 0 {
				*f.field |= bit
			} else if ok {
				*f.field &^= bit
			}
		}
	}
}
