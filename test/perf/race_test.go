//go:build race

package perf_test

// raced: the race detector allocates on its own, and empties pools at random.
const raced = true
