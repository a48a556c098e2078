package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// secretRows is what the status shows of secrets: how many are there, what is
// not and why, and how current that is.
func secretRows(s workspace.StateSecrets, now time.Time) [][]string {
	if s.Off {
		return [][]string{{"  secrets", "none: " + s.Notice}}
	}
	rows := [][]string{{"  secrets", secretSummary(s)}}
	for _, item := range s.Items {
		if item.State != api.Delivered {
			rows = append(rows, []string{"", fmt.Sprintf("%s, %s: %s", item.Secret, item.Where, problemOf(item))})
		}
	}
	for _, r := range s.Missing {
		rows = append(rows, []string{"  needed", strings.TrimSuffix(r.EnvName+r.FilePath+": "+r.Help, ": ")})
	}
	rows = append(rows, []string{"  changes", freshness(s, now)})
	if s.Notice != "" {
		rows = append(rows, []string{"  notice", s.Notice})
	}
	if s.CacheSeconds > 0 {
		cache := "none yet"
		if s.CachedAt != nil {
			cache = "of " + humane(*s.CachedAt, now)
		}
		rows = append(rows, []string{"  cache", fmt.Sprintf("%s, good for %s", cache, span(time.Duration(s.CacheSeconds)*time.Second))})
	}
	return rows
}

func secretSummary(s workspace.StateSecrets) string {
	parts := []string{fmt.Sprintf("%d of %s delivered", s.Delivered, plural(len(s.Items), "target"))}
	if s.Revision > 0 {
		parts = append(parts, fmt.Sprintf("revision %d", s.Revision))
	}
	if s.Memory != "" {
		parts = append(parts, "values in "+s.Memory)
	}
	if s.FilesInMemory {
		parts = append(parts, "files in memory")
	}
	return strings.Join(parts, ", ")
}

func problemOf(item api.DeliveryItem) string {
	if item.Detail == "" {
		return string(item.State)
	}
	return string(item.State) + ", " + item.Detail
}

// freshness says how a change at the server gets here.
func freshness(s workspace.StateSecrets, now time.Time) string {
	switch {
	case s.WatchedSince != nil:
		return "at once, connected since " + humane(*s.WatchedSince, now)
	case s.AwaySince != nil:
		return "none, the server is away since " + humane(*s.AwaySince, now)
	case s.Polled:
		return "within a minute, the server is too old to tell"
	}
	return "none, connecting"
}
