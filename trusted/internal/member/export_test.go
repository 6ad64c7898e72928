package member

import (
	"bytes"
	"io"
)

// What tests need to play a node that does not keep to the rules.
var (
	Certify = certify
	OIDBoot = oidBoot
)

const (
	MaxKnocking   = maxKnocking
	MaxStrangers  = maxStrangers
	MaxStranger   = maxStrangerBytes
	MaxChannels   = maxChannels
	FrameHello    = byte(frameHello)
	FrameEvidence = byte(frameEvidence)
	FrameRefused  = byte(frameRefused)
)

// WriteFrame is writeFrame.
func WriteFrame(w io.Writer, kind byte, body []byte) error {
	return writeFrame(w, frameKind(kind), body)
}

// Frame is one message.
func Frame(kind byte, body []byte) []byte {
	var b bytes.Buffer
	_ = writeFrame(&b, frameKind(kind), body)
	return b.Bytes()
}

// Reread reads the message that b begins with and prints it again; rest is what follows.
func Reread(b []byte) (printed, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errFrame
	}
	r, kind := bytes.NewReader(b), frameKind(b[0])
	body, err := readFrame(r, kind)
	if _, refused := err.(refusedError); refused {
		body, err = b[frameHead:len(b)-r.Len()], nil
	}
	if err == nil && kind == frameHello {
		var h hello
		h, err = parseHello(body)
		body = h.body()
	}
	if err == nil && kind == frameEvidence {
		ev, e := parseEvidence(body)
		if err = e; err == nil {
			body, err = evidenceBody(ev)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return Frame(byte(kind), body), b[len(b)-r.Len():], nil
}

// Refuse is what the other side makes of the refusal that err is.
func Refuse(err error) error { return refusalOf(refusalBody(err)) }
