package bad_test

import (
	_ "example.com/unknown" // want `{By: []string{"./host/bad"}, TestsOnly: true, Imports`
	_ "github.com/google/go-cmp/cmp"
)
