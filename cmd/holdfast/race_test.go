//go:build race

package main

// raceEnabled says whether the race detector is on, which makes all slow.
const raceEnabled = true
