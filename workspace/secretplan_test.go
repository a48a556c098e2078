package workspace

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func mustSnapshot(t testing.TB, w api.WorkspaceSecrets) *snapshot {
	t.Helper()
	opened, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeSnapshot(opened)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

// The server is held to the rules: what it may send one day by mistake, or
// because somebody has taken it over, is not delivered.
func TestPlan(t *testing.T) {
	none := secret("none", "NONE", "~/none", "")
	none.SecretValue = api.SecretValue{}
	text := "text"
	both := secret("both", "BOTH", "", "x")
	both.Value = &text
	for _, tt := range []struct {
		name string
		home string // "-": none
		give []api.DeliveredSecret
		want []string // target where state: detail, for what is not a file to deliver
		vars string   // NAME=VALUE, …
		file string   // PATH=CONTENT, …
	}{
		{"plain", "", []api.DeliveredSecret{secret("b", "B", "~/b", "two"), secret("a", "A", "", "one")},
			[]string{"a env A delivered: ", "b env B delivered: "}, "A=one B=two", "~/b=two"},
		{"empty value", "", []api.DeliveredSecret{secret("a", "A", "/a/b", "")}, []string{"a env A delivered: "}, "A=", "/a/b="},
		{"no target", "", []api.DeliveredSecret{secret("a", "", "", "x")}, nil, "", ""},
		{"reserved variable", "", []api.DeliveredSecret{secret("a", "LD_PRELOAD", "~/a", "x")},
			[]string{"a env LD_PRELOAD blocked: the variable LD_PRELOAD is reserved, as it would change how programs run"}, "", "~/a=x"},
		{"no name of a variable", "", []api.DeliveredSecret{secret("a", "A=B", "", "x")},
			[]string{"a env A=B blocked: the variable must be letters, digits and _, and not begin with a digit"}, "", ""},
		{"NUL", "", []api.DeliveredSecret{secret("a", "A", "~/a", "x\x00y")},
			[]string{"a env A blocked: the value holds a NUL, which no variable can; give it a file instead"}, "", "~/a=x\x00y"},
		{"largest variable", "", []api.DeliveredSecret{secret("a", "A", "", strings.Repeat("x", 131072-3))}, []string{"a env A delivered: "}, "A=" + strings.Repeat("x", 131072-3), ""},
		{"too large a variable", "", []api.DeliveredSecret{secret("a", "A", "", strings.Repeat("x", 131072-2))},
			[]string{"a env A blocked: the variable would have 131073 bytes; the system takes 131072: give it a file instead"}, "", ""},
		{"two with one variable", "", []api.DeliveredSecret{secret("b", "X", "", "two"), secret("a", "X", "", "one"), secret("c", "x", "", "three")},
			[]string{"a env X delivered: ", "b env X shadowed: the secret a has the same variable", "c env x delivered: "}, "X=one x=three", ""},
		{"a blocked one takes nothing", "", []api.DeliveredSecret{secret("a", "X", "", "\x00"), secret("b", "X", "", "two")},
			[]string{"a env X blocked: the value holds a NUL, which no variable can; give it a file instead", "b env X delivered: "}, "X=two", ""},
		{"two with one file", "", []api.DeliveredSecret{secret("a", "", "~/x", "one"), secret("b", "", "/home/ada/x", "two")},
			[]string{"b file /home/ada/x shadowed: the secret a has the same file"}, "", "~/x=one"},
		{"reserved file", "", []api.DeliveredSecret{secret("a", "", "~/.ssh/authorized_keys", "x")},
			[]string{"a file ~/.ssh/authorized_keys blocked: the path is reserved (~/.ssh/authorized_keys): what decides who may log in, or what programs run, is no secret's file"}, "", ""},
		{"reserved file by another way", "", []api.DeliveredSecret{secret("a", "", "/home/ada/.bashrc", "x")},
			[]string{"a file /home/ada/.bashrc blocked: the path is reserved (~/.bashrc): what decides who may log in, or what programs run, is no secret's file"}, "", ""},
		{"out of the way", "", []api.DeliveredSecret{secret("a", "", "~/../x", "x"), secret("b", "", "x", "x")},
			[]string{`a file ~/../x blocked: the path holds ".." as a part, which is not allowed`, `b file x blocked: the path must begin with "~/" or "/"`}, "", ""},
		{"no home", "-", []api.DeliveredSecret{secret("a", "A", "~/x", "x"), secret("b", "", "/x", "x")},
			[]string{"a env A delivered: ", "a file ~/x blocked: there is no home directory: HOME is not set, or is none; set it for the daemon, or give the secret a path that begins with /"}, "A=x", "/x=x"},
		{"no value", "", []api.DeliveredSecret{none, both},
			[]string{"both env BOTH blocked: the server sent no value", "none env NONE blocked: the server sent no value", "none file ~/none blocked: the server sent no value"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := map[string]string{"": "/home/ada", "-": ""}[tt.home]
			s := mustSnapshot(t, api.WorkspaceSecrets{Revision: 1, Secrets: tt.give})
			p := s.plan(home)
			var got, vars, files []string
			for _, i := range p.items {
				got = append(got, fmt.Sprintf("%s %s %s %s: %s", i.Secret, i.Target, i.Where, i.State, i.Detail))
			}
			for _, v := range s.copies(p) {
				vars = append(vars, v.Name+"="+string(v.Value))
			}
			for _, f := range s.contents(p) {
				files = append(files, f.Path+"="+string(f.Content))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the plan is\n%q\nwant\n%q", got, tt.want)
			}
			if v := strings.Join(vars, " "); v != tt.vars {
				t.Errorf("the variables are %.80q; want %.80q", v, tt.vars)
			}
			if f := strings.Join(files, " "); f != tt.file {
				t.Errorf("the files are %q; want %q", f, tt.file)
			}
		})
	}
}

// What the server sends by mistake is refused as a whole, in words of our own:
// encoding/json's would quote values.
func TestDamagedManifest(t *testing.T) {
	for _, opened := range []string{
		"", "hunter2", `{"secrets":"hunter2"}`, `{"secrets":[{"value_base64":"hunter2!"}]}`, `{"revision":"hunter2"}`,
		`{"secrets":[{"name":"a","env_name":["hunter2"]}]}`, `[]`, `{"secrets":[{"value":12345678}]}`,
	} {
		s, err := decodeSnapshot([]byte(opened))
		if err != errUnreadable {
			t.Errorf("decodeSnapshot(%q) = %v, %v; want an error that does not quote it", opened, s, err)
		}
	}
	s, err := decodeSnapshot([]byte(`{"revision":3,"refused":true,"secrets":[{"name":"a","env_name":"A","value_base64":"aHVudGVyMg=="}]}`))
	if err != nil || len(s.secrets) != 0 || s.values != nil {
		t.Errorf("a workspace that takes no secrets was sent one: %+v, %v; want that it is not kept", s, err)
	}
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte(`{"revision":1,"secrets":[{"name":"a","env_name":"A","file_path":"~/a","version":1,"value_base64":"eA=="},{"name":"a","env_name":"A","value":""}],"requirements":[{"env_name":"A"}]}`))
	f.Add([]byte(`{"refused":true}`))
	f.Fuzz(func(t *testing.T, opened []byte) {
		s, err := decodeSnapshot(opened)
		if err != nil {
			return
		}
		defer s.close()
		s.unshare()
		p := s.plan("/home/ada")
		names, paths := map[string]bool{}, map[string]bool{}
		for _, v := range s.copies(p) {
			if names[v.Name] || api.CheckEnvName(v.Name) != nil || strings.Contains(string(v.Value), "\x00") || len(v.Name)+len(v.Value)+2 > maxVariable {
				t.Errorf("the variable %q may not be delivered, or is twice", v.Name)
			}
			names[v.Name] = true
		}
		for _, file := range s.contents(p) {
			where := api.HomePath(file.Path, "/home/ada")
			if paths[where] || api.CheckFilePath(where) != nil || api.CheckFilePath(file.Path) != nil {
				t.Errorf("the file %q may not be delivered, or is twice", file.Path)
			}
			paths[where] = true
		}
		if !s.same(s) {
			t.Error("a snapshot is not the same as itself")
		}
	})
}

func TestMissing(t *testing.T) {
	requirements := []api.Requirement{{EnvName: "A", Help: "a"}, {EnvName: "B"}, {FilePath: "~/a"}, {FilePath: "~/b"}, {FilePath: "~/c"}}
	items := []api.DeliveryItem{
		{Target: api.EnvTarget, Where: "A", State: api.Delivered}, {Target: api.EnvTarget, Where: "B", State: api.Blocked},
		{Target: api.FileTarget, Where: "~/a", State: api.Delivered}, {Target: api.FileTarget, Where: "~/b", State: api.Changed},
		{Target: api.FileTarget, Where: "A", State: api.Delivered}, {Target: api.EnvTarget, Where: "~/c", State: api.Delivered},
	}
	if got := missing(requirements, items); !slices.Equal(got, []api.Requirement{{EnvName: "B"}, {FilePath: "~/c"}}) {
		t.Errorf("missing is %v; want B and ~/c", got)
	}
}
