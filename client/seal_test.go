package client_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/client/seal"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestSealAndOpen(t *testing.T) {
	s := clienttest.NewServer(t)
	c := newClient(t, s.Enroll())
	id := createKey(t, c, kms.AES256GCM)
	plain := bytes.Repeat([]byte("some data "), 30_000)
	var files [2]bytes.Buffer
	for i := range files {
		w, err := c.Seal(t.Context(), id, &files[i])
		ok(t, err)
		_, err = w.Write(plain)
		ok(t, err)
		ok(t, w.Close())
		if bytes.Contains(files[i].Bytes(), plain[:16]) {
			t.Fatal("the data is not encrypted")
		}
		r, err := c.Open(t.Context(), bytes.NewReader(files[i].Bytes()))
		ok(t, err)
		got, err := io.ReadAll(r)
		if !bytes.Equal(must(t, got, err), plain) {
			t.Error("it opens to something else")
		}
	}
	if n := s.Calls("GenerateDataKey"); n != 2 {
		t.Errorf("%d data keys for 2 files", n)
	}

	// The header of one file before the data of another.
	const head = 43 + 60 + 32
	a, b := files[0].Bytes(), files[1].Bytes()
	crossed := append(bytes.Clone(a[:head]), b[head:]...)
	r, err := c.Open(t.Context(), bytes.NewReader(crossed))
	ok(t, err)
	if got, err := io.ReadAll(r); !errors.Is(err, kms.DecryptFailed) || len(got) > 0 {
		t.Errorf("crossed files: %d bytes, %v", len(got), err)
	}
	// Its wrapped data key in the header of another file: the node refuses.
	copy(crossed[43:], b[43:43+60])
	if _, err := c.Open(t.Context(), bytes.NewReader(crossed)); !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("crossed data keys: %v", err)
	}
	if _, err := c.Open(t.Context(), strings.NewReader("hello")); !errors.Is(err, seal.ErrNotSealed) {
		t.Errorf("not a sealed file: %v", err)
	}
	imported := create(t, c, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Imported})
	ok(t, c.ImportKey(t.Context(), imported, plain[:32]))
	var file bytes.Buffer
	w, err := c.Seal(t.Context(), imported, &file)
	ok(t, err)
	ok(t, w.Close())
	_, err = c.Open(t.Context(), &file)
	ok(t, err)
	ok(t, c.DeleteKey(t.Context(), id))
	if _, err := c.Open(t.Context(), bytes.NewReader(a)); !errors.Is(err, kms.NotFound) {
		t.Errorf("with its key deleted: %v", err)
	}
	if _, err := c.Seal(t.Context(), id, io.Discard); !errors.Is(err, kms.NotFound) {
		t.Errorf("with a deleted key: %v", err)
	}
}
