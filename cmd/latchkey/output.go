package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// json prints v for programs, indented for the people who write them.
func (p *program) json(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return outputError(e.Encode(v))
}

// jsonList prints a list, which is [] if there is nothing in it and not null.
func jsonList[T any](p *program, list []T) error {
	if list == nil {
		list = []T{}
	}
	return p.json(list)
}

// table prints rows in columns under a heading, "NAME\tCREATED".
func (p *program) table(heading string, rows [][]string) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	for _, row := range rows {
		writeRow(w, row)
	}
	return outputError(w.Flush())
}

// details prints rows of two columns without a heading.
func (p *program) details(rows [][]string) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if row[1] != "" {
			writeRow(w, row)
		}
	}
	return outputError(w.Flush())
}

func writeRow(w *tabwriter.Writer, row []string) {
	cells := make([]string, len(row))
	for i, cell := range row {
		cells[i] = printable(cell)
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

// humane writes a time for people: near ones by their distance from now.
func humane(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d.Abs() < time.Minute && d >= 0:
		return "just now"
	case d.Abs() > 45*24*time.Hour:
		return t.Local().Format(time.DateOnly)
	case d < 0:
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// humaneOr is humane for a time that may not be there.
func humaneOr(t *time.Time, otherwise string) string {
	if t == nil {
		return otherwise
	}
	return humane(*t, time.Now())
}

// span writes a duration in its largest unit.
func span(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		// Two of a unit at least, days excepted: "36 hours" and not "1 day".
		n := int64((d + u.size/2) / u.size)
		if n >= 2 || u.name == "second" {
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return d.String()
}

// plural is "1 key", "2 keys".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
