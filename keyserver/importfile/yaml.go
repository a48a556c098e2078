package importfile

import (
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML is read into nodes: their kinds, tags and lines are as the file has them,
// and an alias is a node, and not a copy of what it stands for. So a file
// can't grow while it is read, and nothing is converted.

const oneMapping = "must be one mapping of strings, KEY: value"

func (f *file) readYAML(text string) {
	d := yaml.NewDecoder(strings.NewReader(text))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing but comments
		return
	case err != nil:
		f.yamlError(err)
		return
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		f.problem(root.Line, "", oneMapping)
		return
	}
	if root.Anchor != "" || tagged(root) {
		f.problem(root.Line, "", "has an anchor or a tag, which is not supported")
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		f.yamlMember(root.Content[i], root.Content[i+1])
	}
	var more yaml.Node
	switch err := d.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.yamlError(err)
	default:
		f.problem(more.Line, "", "begins a second document; only one is allowed")
	}
}

func (f *file) yamlMember(key, value *yaml.Node) {
	name := ""
	if key.Kind == yaml.ScalarNode {
		name = key.Value
	}
	if detail := notText(key); detail != "" {
		f.problem(key.Line, name, "the key %s", detail)
		return
	}
	if detail := notText(value); detail != "" {
		f.newKey(key.Line, name)
		f.problem(value.Line, name, "%s", detail)
		return
	}
	f.add(key.Line, name, value.Value)
}

// notText says why a node is not a string, "" if it is one.
func notText(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return "is an alias (*), which is not supported; quote it if it is a value"
	case n.Anchor != "":
		return "has an anchor (&), which is not supported; quote it if it is a value"
	case tagged(n):
		return "has a tag (!), which is not supported; quote it if it is a value"
	case n.Kind == yaml.MappingNode:
		return "is a mapping; write it as a string"
	case n.Kind == yaml.SequenceNode:
		return "is a list; write it as a string"
	case n.Tag == "!!merge":
		return "is a merge (<<), which is not supported"
	case n.Tag == "!!null":
		return `is null; quote it, or write "" for an empty string`
	case n.Tag == "!!bool", plainly(n, bool11):
		return "is true or false in YAML; quote it"
	case n.Tag == "!!int", n.Tag == "!!float", plainly(n, base60):
		return "is a number in YAML; quote it"
	case n.Tag == "!!timestamp":
		return "is a date in YAML; quote it"
	case n.Tag != "!!str":
		return "is no string in YAML; quote it"
	}
	return ""
}

func tagged(n *yaml.Node) bool {
	return n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str"
}

// YAML 1.1 has these too, and so have many of its readers still.
var (
	bool11 = regexp.MustCompile(`^(?:y|Y|n|N|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$`)
	base60 = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$`)
)

func plainly(n *yaml.Node, pattern *regexp.Regexp) bool {
	return n.Style == 0 && pattern.MatchString(n.Value)
}

// yamlSyntax are the library's texts that are told as they are. Others may hold
// a part of the file.
var yamlSyntax = map[string]bool{
	"mapping values are not allowed in this context":  true,
	"could not find expected ':'":                     true,
	"did not find expected key":                       true,
	"did not find expected ',' or '}'":                true,
	"did not find expected ',' or ']'":                true,
	"did not find expected <document start>":          true,
	"found a tab character that violates indentation": true,
	"found character that cannot start any token":     true,
	"found unexpected end of stream":                  true,
	"found unknown escape character":                  true,
	"control characters are not allowed":              true,
}

func (f *file) yamlError(err error) {
	line, text := 0, strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, rest, ok := strings.Cut(rest, ": "); ok {
			line, _ = strconv.Atoi(number) // 0 if it is none
			text = rest
		}
	}
	switch {
	case strings.HasPrefix(text, "unknown anchor "):
		f.problem(line, "", "an alias (*) is not supported; quote what begins with *")
	case yamlSyntax[text]:
		f.problem(line, "", "is not valid YAML: %s", text)
	default:
		f.problem(line, "", "is not valid YAML")
	}
}
