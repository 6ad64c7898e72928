package boundary

import "testing"

// TestModule holds this module to its rules.
func TestModule(t *testing.T) {
	found, err := rules.Check("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}
