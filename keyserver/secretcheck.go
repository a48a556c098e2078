package keyserver

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxScope bounds the names, and the labels, of each list of them.
const maxScope = 100

// secretFields checks what a request sets of a secret; at stands before the
// names of the fields.
func (s *Server) secretFields(p *problems, at string, in api.UpdateSecretRequest) {
	if in.Name != nil {
		p.name(at+"name", *in.Name)
	}
	if in.Description != nil {
		p.description(at+"description", *in.Description)
	}
	if in.EnvName != nil && *in.EnvName != "" {
		s.envName(p, at+"env_name", *in.EnvName)
	}
	if in.FilePath != nil && *in.FilePath != "" {
		p.filePath(at+"file_path", *in.FilePath)
	}
	if in.Workspaces != nil {
		p.names(at+"workspaces", *in.Workspaces)
	}
	if in.Labels != nil {
		p.names(at+"labels", *in.Labels)
	}
	if in.Value != nil && in.ValueBase64 != nil {
		p.add(at+"value_base64", "is given together with value: give one of them")
	}
}

func (s *Server) envName(p *problems, field, name string) {
	if err := api.CheckEnvName(name, s.reservedEnv...); err != nil {
		p.add(field, "%s", err)
	}
}

func (p *problems) filePath(field, path string) {
	if err := api.CheckFilePath(path); err != nil {
		p.add(field, "%s", err)
	}
}

// names checks a list of names or labels.
func (p *problems) names(field string, names []string) {
	if len(names) > maxScope {
		p.add(field, "has %d entries; at most %d are allowed", len(names), maxScope)
		return
	}
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		p.name(at, n)
		if n != "" && slices.Contains(names[:i], n) {
			p.add(at, "is there twice")
		}
	}
}

// target checks that an enabled secret has one.
func (p *problems) target(at string, sec Secret) {
	if sec.Enabled && sec.EnvName == "" && sec.FilePath == "" {
		p.add(at+"env_name", "is missing, and so is file_path: an enabled secret needs one of them")
		p.todo = `give env_name, file_path or both, or "enabled": false`
	}
}

// value checks a secret's value against its targets; b may be nil if there is
// no new value, and was is the secret as it is stored.
func (s *Server) value(p *problems, at string, sec, was Secret, b []byte) {
	retarget := sec.EnvName != was.EnvName || (sec.FilePath == "") != (was.FilePath == "")
	if b == nil && !retarget {
		return
	}
	n := sec.Size
	switch {
	case sec.EnvName != "" && n > s.limits.EnvValue:
		p.add(at+"value", "has %d bytes; at most %d are allowed with an environment variable", n, s.limits.EnvValue)
		p.todo = fmt.Sprintf("a secret with a file_path and no env_name may have %d bytes", s.limits.FileValue)
	case sec.EnvName != "" && int64(len(sec.EnvName))+n+2 > kernelEnv:
		p.add(at+"value", "has %d bytes, and with its name and 2 bytes more than the %d that the kernel takes", n, kernelEnv)
		p.todo = "put it into a file: give a file_path and no env_name"
	case sec.EnvName == "" && n > s.limits.FileValue:
		p.add(at+"value", "has %d bytes; at most %d are allowed", n, s.limits.FileValue)
	}
	if sec.EnvName != "" && bytes.IndexByte(b, 0) >= 0 {
		p.add(at+"value", "holds a NUL byte, which an environment variable can't")
		p.todo = "put it into a file: give a file_path and no env_name"
	}
}

// clashes are the targets and names of sec that another one of all has. No two
// secrets share an ID.
func clashes(p *problems, at string, sec Secret, all []Secret) {
	for _, o := range all {
		if o.ID == sec.ID {
			continue
		}
		if o.Name == sec.Name {
			p.add(at+"name", "name already in use")
		}
		if sec.EnvName != "" && o.EnvName == sec.EnvName {
			p.add(at+"env_name", "environment variable already in use by secret %s", o.Name)
		}
		switch a, b := sec.FilePath, o.FilePath; {
		case a == "" || b == "":
		case a == b:
			p.add(at+"file_path", "file path already in use by secret %s", o.Name)
		case below(a, b):
			p.add(at+"file_path", "lies below %s, which is the file of secret %s", b, o.Name)
		case below(b, a):
			p.add(at+"file_path", "would have to be a directory for secret %s, whose file is %s", o.Name, b)
		}
	}
}

// below reports whether a path leads through another one.
func below(path, through string) bool {
	return len(path) > len(through) && path[:len(through)] == through && path[len(through)] == '/'
}

// A use is what a user's secrets take up of the limits.
type use struct {
	secrets         int64
	envTotal, total int64
}

func useOf(all []Secret) (u use) {
	for _, sec := range all {
		u.secrets++
		u.total += sec.Size
		if sec.EnvName != "" {
			u.envTotal += int64(len(sec.EnvName)) + sec.Size + 2
		}
	}
	return u
}

// totals checks the limits that hold for all secrets together. What is over one
// already, since the limit was lowered, may still become less.
func (s *Server) totals(p *problems, field string, before, after []Secret) {
	was, is := useOf(before), useOf(after)
	for _, c := range []struct {
		what           string
		was, is, limit int64
		todo           string
	}{
		{"secrets", was.secrets, is.secrets, int64(s.limits.Secrets), "delete one that is not needed any more"},
		{"bytes in environment variables, with their names and 2 bytes each", was.envTotal, is.envTotal, s.limits.EnvTotal, "put long values into files: give them a file_path and no env_name"},
		{"bytes in all values", was.total, is.total, s.limits.Total, "delete a secret that is not needed any more"},
	} {
		if c.is > c.limit && c.is > c.was {
			p.add(field, "the user would have %d %s; at most %d are allowed, and %d are in use", c.is, c.what, c.limit, c.was)
			p.todo = c.todo
		}
	}
}
