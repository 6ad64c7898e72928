package command

import "unsafe"

var _ unsafe.Pointer
