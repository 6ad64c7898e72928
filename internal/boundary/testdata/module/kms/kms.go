package kms

import (
	_ "example.test/m/govern" // want `the vocabulary`
)
