package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Parse reads a file. It finds every fault that does not keep it from reading on.
func Parse(b []byte) (File, []Fault) {
	p := &parser{text: b, d: jsontext.NewDecoder(bytes.NewReader(b)), command: commandIn(b)}
	if err := p.object(); err != nil {
		p.faults = append(p.faults, p.broken(err))
	}
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	return p.file, nil
}

type parser struct {
	text    []byte
	d       *jsontext.Decoder
	command string // whose settings they are
	file    File
	faults  []Fault
}

// commandIn is the command that a file names, wherever in it. What is wrong with
// the file is for the parser to tell.
func commandIn(b []byte) string {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return Serve
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return Serve
		}
		wanted := name.String() == commandName
		v, err := d.ReadValue()
		if err != nil {
			return Serve
		}
		if wanted && v.Kind() == '"' {
			text, err := jsontext.AppendUnquote(nil, v)
			if err != nil {
				return Serve
			}
			return string(text)
		}
	}
	return Serve
}

func (p *parser) object() error {
	if kind := p.d.PeekKind(); kind != '{' && kind != 0 {
		return errNoObject
	}
	if _, err := p.d.ReadToken(); err != nil { // of nothing at all too
		return err
	}
	for p.d.PeekKind() != '}' {
		if err := p.member(); err != nil {
			return err
		}
	}
	if _, err := p.d.ReadToken(); err != nil {
		return err
	}
	if _, err := p.d.ReadToken(); err != io.EOF {
		return errors.New("there is something behind the object")
	}
	return nil
}

func (p *parser) member() error {
	t, err := p.d.ReadToken() // refuses a name that was there before
	if err != nil {
		return err
	}
	name, line := t.String(), p.line(p.d.InputOffset())
	m, known := memberOf(p.command, name)
	if !known {
		p.unknown(line, name)
		return p.d.SkipValue()
	}
	values, fit, err := p.values(m)
	switch {
	case err != nil:
		return err
	case !fit:
		return nil // it was told
	}
	for _, v := range values {
		if err := m.form(v); err != nil {
			p.fault(line, "write for example "+m.hint, "%s: %v", name, err)
		}
	}
	p.file = append(p.file, Setting{Name: name, Values: values, Line: line})
	return nil
}

// values reads a text, or an array of texts for a member that is a list.
func (p *parser) values(m member) (all []string, fit bool, err error) {
	v, err := p.d.ReadValue()
	if err != nil {
		return nil, false, err
	}
	line := p.line(p.d.InputOffset())
	texts := []jsontext.Value{v}
	if m.list {
		texts, err = elements(v)
	}
	for _, t := range texts {
		if t.Kind() != '"' {
			err = errForm
			break
		}
		s, unquoting := jsontext.AppendUnquote(nil, t)
		if unquoting != nil {
			return nil, false, unquoting
		}
		all = append(all, string(s))
	}
	if err != nil || len(all) == 0 {
		form := "a text in quotes"
		if m.list {
			form = "a list of texts, [\"…\"], that is not empty"
		}
		p.fault(line, "write for example "+m.hint, "%s has to be %s", m.name, form)
		return nil, false, nil
	}
	return all, true, nil
}

var errForm = errors.New("another form")

func elements(v jsontext.Value) (all []jsontext.Value, err error) {
	if v.Kind() != '[' {
		return nil, errForm
	}
	d := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() != ']' {
		e, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		all = append(all, e.Clone())
	}
	return all, nil
}

func (p *parser) fault(line int, hint, format string, args ...any) {
	p.faults = append(p.faults, Fault{Line: line, What: fmt.Sprintf(format, args...), Hint: hint})
}

// line is the number of the line that holds the byte before offset.
func (p *parser) line(offset int64) int {
	end := min(max(int(offset), 0), len(p.text))
	return 1 + bytes.Count(p.text[:end], []byte("\n"))
}

// broken is what keeps the parser from reading on.
func (p *parser) broken(err error) Fault {
	f := Fault{Line: p.line(p.d.InputOffset()), What: err.Error(), Hint: "the file is one JSON object, without comments and without a comma behind the last member"}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		f.Line = p.line(syntax.ByteOffset)
		f.What = strings.TrimPrefix(syntax.Err.Error(), "jsontext: ")
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		f.What = "a setting that is there before"
		if syntax != nil {
			f.What = fmt.Sprintf("%q is there twice", syntax.JSONPointer.LastToken())
		}
		f.Hint = "leave one of them out; several values of one setting are a list"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.What = "the file ends before its object does"
		f.Line = p.line(int64(len(p.text)))
	}
	return f
}

// unknown says what was meant, as far as can be guessed.
func (p *parser) unknown(line int, name string) {
	if m, other := memberOf("", name); other {
		p.fault(line, fmt.Sprintf("it is one of %q: leave it out, or write \"command\": %q", m.of[0], m.of[0]), "%q is no setting of the command %q", name, p.command)
		return
	}
	plain := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(strings.TrimLeft(name, "-")))
	best, least := "", 3
	for _, m := range members {
		if d := distance(plain, m.name); d < least && m.fits(p.command) {
			best, least = m.name, d
		}
	}
	hint := fmt.Sprintf("is %q meant?", best)
	if best == "" {
		hint = "the settings are " + strings.Join(Names(p.command), ", ")
	}
	p.fault(line, hint, "%q is no setting", name)
}

// distance is how many letters have to be changed, added or left out.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
