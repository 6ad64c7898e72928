package snp

// Products are those that there is a root for.
func Products() (names []string) {
	for name := range roots() {
		names = append(names, name)
	}
	return names
}
