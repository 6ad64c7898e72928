// Package seal is the format of sealed files: data of any length, encrypted
// under a data key of its own, which lies beside it, wrapped under a key of a
// domain. docs/seal.md specifies it; testdata holds its vectors.
//
// A file is a header and chunks of 64 KiB, each encrypted with AES-256-GCM; the
// nonces count the chunks and mark the last one (the STREAM construction of
// Hoang, Reyhanitabar, Rogaway and Vizár, 2015). Keys and nonces are derived from
// the data key and the whole header. So a file that was cut short, extended,
// put in another order or altered in one bit does not open, and nothing is handed
// out that was not verified; and memory does not grow with the file.
//
// This package wraps and unwraps nothing: Client.Seal and Client.Open of package
// client do that.
package seal
