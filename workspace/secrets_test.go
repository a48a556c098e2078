package workspace

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestEnviron(t *testing.T) {
	variables := func(entries ...string) (vars []Variable) {
		for _, e := range entries {
			name, value, _ := strings.Cut(e, "=")
			vars = append(vars, Variable{Name: name, Value: []byte(value)})
		}
		return vars
	}
	for _, tt := range []struct {
		name       string
		base, vars []string
		want       []string
	}{
		{"nothing", nil, nil, nil},
		{"no secrets", []string{"B=2", "A=1"}, nil, []string{"B=2", "A=1"}},
		{"behind the rest", []string{"B=2"}, []string{"Z=26", "A=1"}, []string{"B=2", "Z=26", "A=1"}},
		{"secrets win", []string{"A=old", "B=2", "A=older"}, []string{"A=new"}, []string{"A=new", "B=2"}},
		{"the first of two", []string{"A=1", "A=2"}, nil, []string{"A=1"}},
		{"the first secret of two", nil, []string{"A=1", "A=2"}, []string{"A=1"}},
		{"tokens", []string{"LATCHKEY_TOKEN=lk_w_x", "LATCHKEY_TOKEN_FD=3", "LATCHKEY_TOKEN_FILE=/f", "LATCHKEY_URL=u"}, nil, []string{"LATCHKEY_TOKEN_FILE=/f", "LATCHKEY_URL=u"}},
		{"values as they are", []string{"A=$B=c"}, []string{"C=$A=\n\"'"}, []string{"A=$B=c", "C=$A=\n\"'"}},
		{"names are told apart by case", []string{"a=1"}, []string{"A=2"}, []string{"a=1", "A=2"}},
		{"no variables", []string{"x", "=C:=c", "x"}, []string{"x=1"}, []string{"x", "=C:=c", "x", "x=1"}},
	} {
		if got := Environ(tt.base, variables(tt.vars...)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Environ(%q, %q) = %q; want %q", tt.name, tt.base, tt.vars, got, tt.want)
		}
	}
}

// The answer is not made by encoding/json, and read by it.
func TestEncodeState(t *testing.T) {
	for _, want := range []SecretState{
		{},
		{Variables: []Variable{}, Missing: []api.Requirement{}, Generation: -1, Notice: `a "quoted", <notice>`},
		{Variables: []Variable{{"A", []byte("one"), "a"}}, Missing: []api.Requirement{{EnvName: "B", Help: "help"}}, Generation: 1 << 60},
		{Variables: []Variable{{"A", []byte{}, ""}, {"B_2", []byte("\xff\x00\n"), "\"name\\\x00<é"}, {"c", []byte(strings.Repeat("x", 100_000)), "c"}}},
	} {
		text, err := encodeState(want)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > cap(text) || cap(text) != len(text) && cap(text)-len(text) > 64+24*len(want.Variables) {
			t.Errorf("the answer of %d bytes has room for %d; want it made in one piece", len(text), cap(text))
		}
		var got SecretState
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("encodeState made %.200s: %v", text, err)
			continue
		}
		if want.Variables == nil {
			want.Variables = []Variable{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("what comes out is %.300v; want %.300v", fmt.Sprint(got), fmt.Sprint(want))
		}
	}
}
