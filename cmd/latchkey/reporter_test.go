package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// reporter is a program for tests, "reporter HOW": it says which signals it gets,
// and which lines. When there are no more it exits with the status HOW, or is
// killed by the signal -HOW. It stops at ^Z, unless there is a second argument.
func reporter() {
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT)
	if len(os.Args) > 2 {
		signal.Notify(signals, syscall.SIGTSTP)
	}
	go func() {
		for s := range signals {
			say("got %s", unix.SignalName(s.(syscall.Signal)))
		}
	}()
	if term.IsTerminal(0) && term.IsTerminal(1) && term.IsTerminal(2) {
		width, height, _ := term.GetSize(1)
		say("on a terminal of %d x %d", width, height)
	}
	say("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch width, height, _ := term.GetSize(1); lines.Text() {
		case "size":
			say("size %d x %d", width, height)
		default:
			say("line <%s>", lines.Text())
		}
	}
	how, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	if how < 0 {
		dieBy(syscall.Signal(-how))
	}
	os.Exit(how)
}
