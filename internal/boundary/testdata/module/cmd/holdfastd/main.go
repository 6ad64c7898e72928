package main

import _ "example.test/m/trusted/server"

func main() {}
