package main

import (
	_ "example.test/m/attest/simtee"
	_ "example.test/m/host/leaf"
	_ "example.test/m/trusted/leaf"
)

func main() {}
