//go:build !race

package perf_test

const raced = false
