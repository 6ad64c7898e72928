// Package api is the HTTP plumbing that all facades share: a table of routes
// that never redirects, bounded request bodies in memory that is wiped, response
// headers, tables from kinds of errors to answers, and the status page. What a
// request means is the facades' business; who sent it is the core's.
package api

import (
	"net/http"
	"strings"
)

// A Route is one endpoint.
type Route struct {
	Method  string // "" is every method; a path with another method is answered 405
	Path    string // compared as it was sent
	Prefix  bool   // Path is only the beginning of the paths
	Handler http.Handler
}

func (rt *Route) serves(path string) bool {
	return path == rt.Path || rt.Prefix && strings.HasPrefix(path, rt.Path)
}

// A Table serves the first route whose path is the request's. Unlike
// http.ServeMux it neither cleans paths nor redirects: clients that sign do not
// follow, and a redirected POST loses its body.
type Table struct {
	Routes []Route
	Rest   http.Handler // serves every other path; nil answers 404
}

func (t *Table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowed := ""
	for i := range t.Routes {
		rt := &t.Routes[i]
		if !rt.serves(r.URL.Path) {
			continue
		}
		if rt.Method == "" || rt.Method == r.Method {
			rt.Handler.ServeHTTP(w, r)
			return
		}
		allowed = rt.Method
	}
	switch {
	case allowed != "":
		w.Header().Set("Allow", allowed)
		SendPage(w, http.StatusMethodNotAllowed)
	case t.Rest != nil:
		t.Rest.ServeHTTP(w, r)
	default:
		SendPage(w, http.StatusNotFound)
	}
}
