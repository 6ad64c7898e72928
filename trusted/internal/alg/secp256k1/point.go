package secp256k1

import (
	"encoding/binary"
	"sync"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// A point is in projective coordinates: x = X/Z, y = Y/Z; the neutral point is
// (0 : 1 : 0).
type point struct{ x, y, z secp256k1.FieldVal }

// b3 is three times the b of y² = x³ + b.
const b3 = 21

// add sets p to p + q, for all p and q alike: Renes, Costello and Batina,
// "Complete addition formulas for prime order elliptic curves", algorithm 7.
//
// The library's field lets sums grow up to eight times the prime before they
// are multiplied; the numbers on the right keep count. q must come of decode
// (1, 1, 1); p may, or of add (3, 2, 2).
func (p *point) add(q *point) {
	var xx, yy, zz, xy, yz, xz, sum, diff, t secp256k1.FieldVal
	xx.Mul2(&p.x, &q.x)                          // 1
	yy.Mul2(&p.y, &q.y)                          // 1
	zz.Mul2(&p.z, &q.z)                          // 1
	cross(&xy, &p.x, &p.y, &q.x, &q.y, &xx, &yy) // 4: x₁y₂ + x₂y₁
	cross(&yz, &p.y, &p.z, &q.y, &q.z, &yy, &zz) // 4
	cross(&xz, &p.x, &p.z, &q.x, &q.z, &xx, &zz) // 4
	xx.MulInt(3)                                 // 3
	zz.MulInt(b3).Normalize()                    // 1
	xz.Normalize().MulInt(b3).Normalize()        // 1
	sum.Add2(&yy, &zz)                           // 2
	diff.NegateVal(&zz, 1).Add(&yy)              // 3
	p.x.Mul2(&yz, &xz).Negate(1)                 // 2
	p.x.Add(t.Mul2(&xy, &diff))                  // 3
	p.y.Mul2(&xz, &xx).Add(t.Mul2(&diff, &sum))  // 2
	p.z.Mul2(&sum, &yz).Add(t.Mul2(&xx, &xy))    // 2
}

// cross sets out to a₁b₂ + a₂b₁ = (a₁ + b₁)(a₂ + b₂) − a₁a₂ − b₁b₂.
func cross(out, a1, b1, a2, b2, aa, bb *secp256k1.FieldVal) {
	var left, right secp256k1.FieldVal
	left.Add2(a1, b1)           // 5
	right.Add2(a2, b2)          // 2
	out.Mul2(&left, &right)     // 1
	left.Add2(aa, bb).Negate(2) // 3
	out.Add(&left)              // 4
}

// The multiples of the generator are kept by fours of bits: row i holds
// j·16ⁱ·G for j of 0…15. A scalar is then a sum of one entry of each row.
const (
	window  = 4
	rows    = 256 / window
	columns = 1 << window
	words   = 3 * ScalarSize / 8 // of an entry: X, Y and Z
)

// An entry is a point as 64-bit words, so that one is picked by masks.
type entry [words]uint64

// table is 100 kB. It holds nothing secret, so it is made by the library.
var table = sync.OnceValue(func() *[rows][columns]entry {
	t := new([rows][columns]entry)
	var base, sum secp256k1.JacobianPoint
	secp256k1.ScalarBaseMultNonConst(new(secp256k1.ModNScalar).SetInt(1), &base)
	for i := range t {
		t[i][0] = encode(&point{y: *new(secp256k1.FieldVal).SetInt(1)})
		sum = secp256k1.JacobianPoint{}
		for j := 1; j < columns; j++ {
			secp256k1.AddNonConst(&sum, &base, &sum)
			affine := sum
			affine.ToAffine()
			t[i][j] = encode(&point{affine.X, affine.Y, *new(secp256k1.FieldVal).SetInt(1)})
		}
		secp256k1.AddNonConst(&sum, &base, &base)
		base.ToAffine()
	}
	return t
})

func encode(p *point) (e entry) {
	var b [3 * ScalarSize]byte
	p.x.PutBytesUnchecked(b[:])
	p.y.PutBytesUnchecked(b[ScalarSize:])
	p.z.PutBytesUnchecked(b[2*ScalarSize:])
	for i := range e {
		e[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return e
}

func (e *entry) decode(p *point) {
	var b [3][ScalarSize]byte
	for i, w := range e {
		binary.BigEndian.PutUint64(b[i*8/ScalarSize][i*8%ScalarSize:], w)
	}
	p.x.SetBytes(&b[0])
	p.y.SetBytes(&b[1])
	p.z.SetBytes(&b[2])
}

// pick reads the whole row, whichever entry it takes.
func pick(row *[columns]entry, digit byte) (out entry) {
	for j := range row {
		// All ones where j is the digit: subtracting one borrows from zero alone.
		mask := -((uint64(j^int(digit)) - 1) >> 63)
		for i := range out {
			out[i] |= row[j][i] & mask
		}
	}
	return out
}

// baseMult is the point k·G, for a k that is not zero. What it does and reads
// is the same for every k.
func baseMult(k *secp256k1.ModNScalar) (x, y *secp256k1.FieldVal) {
	digits := k.Bytes()
	defer clear(digits[:])
	t := table()
	sum := point{y: *new(secp256k1.FieldVal).SetInt(1)}
	var term point
	for i := range rows {
		pair := digits[ScalarSize-1-i/2]
		e := pick(&t[i], pair>>(window*(i%2))&(columns-1))
		e.decode(&term)
		sum.add(&term)
	}
	sum.z.Inverse()
	x, y = new(secp256k1.FieldVal), new(secp256k1.FieldVal)
	x.Mul2(&sum.x, &sum.z).Normalize()
	y.Mul2(&sum.y, &sum.z).Normalize()
	return x, y
}
