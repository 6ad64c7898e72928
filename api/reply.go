package api

import (
	"fmt"
	"net/http"
	"strconv"
)

// What every response carries. Answers hold plaintexts and keys, so that no
// cache may keep one, and no browser may take one for anything else. The slices
// are shared by all responses; their capacity is their length, so that an
// append to one copies it.
var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
	noEmbed = []string{"default-src 'none'"}
)

// Secure sets the headers of every response.
func Secure(h http.Header) {
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = noEmbed
}

// Send writes a response in one piece.
func Send(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	Secure(h)
	own := [...]string{contentType, strconv.Itoa(len(body))}
	h["Content-Type"], h["Content-Length"] = own[0:1:1], own[1:2:2]
	w.WriteHeader(status)
	_, _ = w.Write(body) // where it fails the client has gone: nobody is left to tell
}

// SendPage answers with a status and a page that says no more than it.
func SendPage(w http.ResponseWriter, status int) {
	text := http.StatusText(status)
	page := fmt.Sprintf("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title></head><body>%s</body></html>\n", text, text)
	Send(w, status, "text/html; charset=utf-8", []byte(page))
}
