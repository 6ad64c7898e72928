package audit

import (
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/holdfast-kms/holdfast/kms"
)

// timeLayout is the one spelling of times.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Append prints an entry as a line without its end. What ParseEntry reads is
// printed as it was; what is too long is cut.
func (e *Entry) Append(b []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, `,"node":"`...)
	b = hex.AppendEncode(b, e.Node[:])
	b = append(b, `","time":"`...)
	b = appendTime(b, e.Time)
	b = append(b, `","epoch":`...)
	b = strconv.AppendUint(b, e.Epoch, 10)
	b = appendText(b, `,"op":`, e.Operation, true)
	if e.App != (kms.AppID{}) {
		b = appendUUID(b, `,"app":"`, e.App)
	}
	if e.Credential != (kms.CredentialID{}) {
		b = appendUUID(b, `,"credential":"`, e.Credential)
	}
	b = appendText(b, `,"identity":`, e.Identity, false)
	b = appendRef(b, `,"key":"`, `,"version":`, e.Key)
	b = appendRef(b, `,"source":"`, `,"source_version":`, e.Source)
	b = appendText(b, `,"name":`, e.Name, false)
	b = appendText(b, `,"object":`, e.Object, false)
	b = appendNumber(b, `,"index":`, e.Index)
	b = appendText(b, `,"outcome":`, e.Outcome, true)
	b = appendText(b, `,"reason":`, e.Reason, false)
	if e.Recovered {
		b = append(b, `,"recovered":true`...)
	}
	if e.For != (kms.NodeID{}) {
		b = append(hex.AppendEncode(append(b, `,"for_node":"`...), e.For[:]), '"')
	}
	b = appendNumber(b, `,"head":`, e.Head)
	b = appendCounts(b, e.Counts)
	b = append(b, `,"prev":"`...)
	b = hex.AppendEncode(b, e.Prev[:])
	return append(b, `"}`...)
}

func appendUUID(b []byte, name string, id [16]byte) []byte {
	b = append(b, name...)
	b = hex.AppendEncode(b, id[0:4])
	for _, part := range [...][]byte{id[4:6], id[6:8], id[8:10], id[10:16]} {
		b = append(b, '-')
		b = hex.AppendEncode(b, part)
	}
	return append(b, '"')
}

func appendRef(b []byte, id, version string, ref kms.KeyRef) []byte {
	if ref.ID == (kms.KeyID{}) {
		return b
	}
	return appendNumber(appendUUID(b, id, ref.ID), version, uint64(ref.Version))
}

func appendNumber(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, name...), n, 10)
}

// maxCountName is longer than the names that there are.
const maxCountName = 64

func appendCounts(b []byte, counts []Count) []byte {
	if len(counts) == 0 {
		return b
	}
	b = append(b, `,"counts":{`...)
	for i, c := range counts[:min(len(counts), MaxCount)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(quote(b, c.Name[:min(len(c.Name), maxCountName)]), ':')
		b = strconv.AppendUint(b, c.N, 10)
	}
	return append(b, '}')
}

func appendText(b []byte, name, s string, always bool) []byte {
	if s == "" && !always {
		return b
	}
	return quote(append(b, name...), s)
}

// appendTime prints a time of the years 1970 to 9999, without what time.Format
// costs.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1000, 6)
	return append(b, 'Z')
}

func appendDigits(b []byte, n, width int) []byte {
	at := len(b)
	for range width {
		b = append(b, '0')
	}
	for i := at + width - 1; i >= at; i-- {
		b[i] += byte(n % 10)
		n /= 10
	}
	return b
}

// quote prints a text of at most MaxText bytes as JSON, in one spelling: the
// shortest, but for control characters, which are all \u00xx. What is no UTF-8 is
// U+FFFD.
func quote(b []byte, s string) []byte {
	s = cut(s)
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' || c == 0x7f {
				b = escape(append(b, s[start:i]...), c)
				start = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, s[start:i]...), "\uFFFD"...)
			start = i + 1
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}

func escape(b []byte, c byte) []byte {
	if c == '"' || c == '\\' {
		return append(b, '\\', c)
	}
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// cut ends a text at MaxText bytes, not within a character. Bytes that are no
// UTF-8 count as the character that is printed for them.
func cut(s string) string {
	if len(s) <= MaxText/len("\uFFFD") {
		return s
	}
	size := 0
	for i, r := range s {
		if size += utf8.RuneLen(r); size > MaxText {
			return s[:i]
		}
	}
	return s
}
