package workspace

import (
	"bytes"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/secretfile"
)

// maxVariable is what Linux takes of "NAME=VALUE" and the NUL behind it, in
// bytes (MAX_ARG_STRLEN, 32 pages of 4 KiB): execve fails for the whole program
// if one is larger.
const maxVariable = 32 * 4096

// A plan is what shall become of a snapshot's secrets in this workspace. The
// server was held to the same rules when it stored them; the daemon holds it to
// them again, for what it is told to write would decide who may log in here.
type plan struct {
	variables []heldSecret
	files     []heldSecret
	items     []api.DeliveryItem // of all variables, and of the files that are not in files
}

// plan decides about every target. home is what "~" stands for; "" if that is
// not known.
func (s *snapshot) plan(home string) plan {
	var p plan
	variables, files := map[string]string{}, map[string]string{} // by whom they are taken
	for _, held := range s.secrets {
		if held.env != "" {
			item := api.DeliveryItem{Secret: held.name, Target: api.EnvTarget, Where: held.env, Version: held.version}
			item.State, item.Detail = s.judgeVariable(held, variables[held.env])
			if item.State == api.Delivered {
				variables[held.env] = held.name
				p.variables = append(p.variables, held)
			}
			p.items = append(p.items, item)
		}
		if held.file != "" {
			where := api.HomePath(held.file, home)
			state, detail := judgeFile(held, where, home, files[where])
			if state == api.Delivered {
				files[where] = held.name
				p.files = append(p.files, held)
				continue
			}
			p.items = append(p.items, api.DeliveryItem{
				Secret: held.name, Target: api.FileTarget, Where: held.file, Version: held.version, State: state, Detail: detail,
			})
		}
	}
	return p
}

func (s *snapshot) judgeVariable(held heldSecret, takenBy string) (api.DeliveryState, string) {
	value := s.value(held)
	if err := api.CheckEnvName(held.env); err != nil {
		return api.Blocked, fmt.Sprintf("the variable %v", err)
	}
	switch size := len(held.env) + len("=\x00") + len(value); {
	case held.without:
		return api.Blocked, "the server sent no value"
	case bytes.IndexByte(value, 0) >= 0:
		return api.Blocked, "the value holds a NUL, which no variable can; give it a file instead"
	case size > maxVariable:
		return api.Blocked, fmt.Sprintf("the variable would have %d bytes; the system takes %d: give it a file instead", size, maxVariable)
	case takenBy != "":
		return api.Shadowed, "the secret " + takenBy + " has the same variable"
	}
	return api.Delivered, ""
}

// judgeFile is about a path as it was given and, for what is reserved, as it is
// below the home directory.
func judgeFile(held heldSecret, where, home, takenBy string) (api.DeliveryState, string) {
	for _, path := range []string{held.file, where} {
		if err := api.CheckFilePath(path); err != nil {
			return api.Blocked, fmt.Sprintf("the path %v", err)
		}
	}
	switch {
	case held.without:
		return api.Blocked, "the server sent no value"
	case home == "" && held.file[0] == '~':
		return api.Blocked, "there is no home directory: HOME is not set, or is none; set it for the daemon, or give the secret a path that begins with /"
	case takenBy != "":
		return api.Shadowed, "the secret " + takenBy + " has the same file"
	}
	return api.Delivered, ""
}

// contents are the plan's files, with the values of the snapshot: not copies.
func (s *snapshot) contents(p plan) []secretfile.File {
	files := make([]secretfile.File, 0, len(p.files))
	for _, held := range p.files {
		files = append(files, secretfile.File{Secret: held.name, Path: held.file, Content: s.value(held), Version: held.version})
	}
	return files
}

// copies are the plan's variables, with values of their own.
func (s *snapshot) copies(p plan) []Variable {
	variables := make([]Variable, 0, len(p.variables))
	for _, held := range p.variables {
		variables = append(variables, Variable{Name: held.env, Value: bytes.Clone(s.value(held)), Secret: held.name})
	}
	return variables
}

// missing are the requirements that no delivered target meets. A file that the
// user has changed is there.
func missing(requirements []api.Requirement, items []api.DeliveryItem) []api.Requirement {
	there := map[string]bool{}
	for _, item := range items {
		if item.State == api.Delivered || item.State == api.Changed {
			there[string(item.Target)+" "+item.Where] = true
		}
	}
	lacking := []api.Requirement{}
	for _, r := range requirements {
		if r.EnvName != "" && !there[string(api.EnvTarget)+" "+r.EnvName] || r.FilePath != "" && !there[string(api.FileTarget)+" "+r.FilePath] {
			lacking = append(lacking, r)
		}
	}
	return lacking
}
