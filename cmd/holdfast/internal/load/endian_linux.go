package load

import "encoding/binary"

// littleEndian is the byte order of this machine, in which /proc/net writes
// addresses.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
