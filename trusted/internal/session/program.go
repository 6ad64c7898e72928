package session

// Program names what the session's evidence proved, by its measurement.
func (v *Verdict) Program() string { return programOf(v.Claims) }
