package ehsm

import "github.com/holdfast-kms/holdfast/kms"

// MissingAnswers lists the kinds of errors that the table of answers lacks.
func MissingAnswers() []kms.Kind { return answers.Missing() }

// DecodeBase64 is eHSM's rule of what base64 is.
func DecodeBase64(dst, src []byte) (int, bool) { return decodeBase64(dst, src) }

// Actions lists the actions that refuse what is not theirs, and the others.
func Actions() (guarded, others []string) {
	for _, rt := range routes {
		if rt.is(exact) {
			guarded = append(guarded, rt.action)
		} else {
			others = append(others, rt.action)
		}
	}
	return guarded, others
}

// Spellings lists the other spellings of each action's members.
func Spellings() map[string][][2]string {
	all := map[string][][2]string{}
	for _, rt := range routes {
		for _, f := range rt.fields {
			for _, other := range f.also {
				all[rt.action] = append(all[rt.action], [2]string{f.name, other})
			}
		}
	}
	return all
}
