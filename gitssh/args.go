// Package gitssh runs ssh for git: it reads ssh's arguments, finds out what the
// user configured for the host, and makes the command to run.
//
// It runs no program itself: each command is an [exec.Cmd] for the caller.
package gitssh

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ssh's options by whether they take a value, as of OpenSSH 10. -P took none
// until 9.4, and did nothing; it takes a tag since.
const (
	plainOptions = "1246AaCfGgKkMNnqsTtVvXxYy"
	valueOptions = "BbcDEeFIiJLlmOoPpQRSWw"
)

// Args are ssh's arguments, as its getopt reads them: options may be clustered
// ("-4p22"), a value may be attached or not, options may follow the host, and
// "--" ends them.
type Args struct {
	List    []string // as given
	Options []Option // in their order
	Host    string   // "[user@]host" or "ssh://[user@]host[:port]"; "" if there is none
	Command []string // to run on the host
}

// An Option is one option with its place in the list.
type Option struct {
	Flag  byte
	Value string

	index, offset int // where the value begins: List[index][offset:]
}

// ErrUsage is what ssh itself explains better.
var ErrUsage = errors.New("not arguments of ssh")

// Parse reads ssh's arguments, without the program's name. Its only error is
// [ErrUsage].
func Parse(list []string) (Args, error) {
	a := Args{List: list}
	i, ended, err := a.options(0)
	if err != nil || i == len(list) {
		return a, err
	}
	a.Host = list[i]
	i++
	if !ended {
		if i, _, err = a.options(i); err != nil {
			return a, err
		}
	}
	a.Command = list[i:]
	return a, nil
}

// options reads options from List[i] on. It returns where they end, and whether
// a "--" ended them.
func (a *Args) options(i int) (next int, ended bool, err error) {
	for ; i < len(a.List); i++ {
		arg := a.List[i]
		switch {
		case arg == "--":
			return i + 1, true, nil
		case len(arg) < 2 || arg[0] != '-':
			return i, false, nil
		}
		for j := 1; j < len(arg); j++ {
			o := Option{Flag: arg[j]}
			if strings.IndexByte(plainOptions, o.Flag) >= 0 {
				a.Options = append(a.Options, o)
				continue
			}
			if strings.IndexByte(valueOptions, o.Flag) < 0 {
				return 0, false, fmt.Errorf("unknown option -%c: %w", o.Flag, ErrUsage)
			}
			o.index, o.offset = i, j+1
			if j+1 == len(arg) {
				o.index, o.offset = i+1, 0
			}
			if o.index == len(a.List) {
				return 0, false, fmt.Errorf("option -%c lacks its value: %w", o.Flag, ErrUsage)
			}
			o.Value = a.List[o.index][o.offset:]
			a.Options = append(a.Options, o)
			i = o.index
			break
		}
	}
	return i, false, nil
}

// Has reports whether one of the options is given.
func (a Args) Has(flags string) bool {
	for _, o := range a.Options {
		if strings.IndexByte(flags, o.Flag) >= 0 {
			return true
		}
	}
	return false
}

// Value is the value of an option that ssh accepts more than once, as ssh takes
// it: the last one. It is "" if the option is not given.
func (a Args) Value(flag byte) (value string) {
	for _, o := range a.Options {
		if o.Flag == flag {
			value = o.Value
		}
	}
	return value
}

// Connects reports whether ssh would connect to a host of its own: not if it is
// asked for its configuration (-G, git's way of learning its dialect), its
// version (-V), its algorithms (-Q), or to steer another ssh (-O).
func (a Args) Connects() bool { return a.Host != "" && !a.Has("GVQO") }

// Hostname is the host as the user wrote it, without user and port.
func (a Args) Hostname() string {
	if strings.HasPrefix(a.Host, "ssh://") {
		if u, err := url.Parse(a.Host); err == nil {
			return u.Hostname()
		}
	}
	return a.Host[strings.LastIndexByte(a.Host, '@')+1:]
}

// Address is the host as the user wrote it, and the port if they wrote one that is not
// SSH's own.
func (a Args) Address() string {
	host, port := a.Hostname(), a.port()
	if port == "" || port == "22" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// port is the port in the arguments, as ssh takes it: the first one. It is "" if there
// is none.
func (a Args) port() string {
	for _, o := range a.Options {
		if o.Flag == 'p' {
			return o.Value
		}
		if word, value := splitWord(o.Value); o.Flag == 'o' && word == "port" {
			return value
		}
	}
	if strings.HasPrefix(a.Host, "ssh://") {
		if u, err := url.Parse(a.Host); err == nil {
			return u.Port()
		}
	}
	return ""
}

// words are the configuration words that the arguments set (-o), in lower case.
func (a Args) words() (words []string) {
	for _, o := range a.Options {
		if o.Flag == 'o' {
			word, _ := splitWord(o.Value)
			words = append(words, word)
		}
	}
	return words
}
