package listen

// What tests of the package reach: the listener over a socket of their own,
// and the hint for an error that only a busy machine gives.
var (
	Wrap = newListener
	Hint = hint
)
