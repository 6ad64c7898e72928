package server

import (
	_ "example.test/m/trusted/bad"
	_ "example.test/m/trusted/internal/leaf"
)
