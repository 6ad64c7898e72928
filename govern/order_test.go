package govern_test

import (
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

func (r *realm) order(d govern.Deed) *govern.Order {
	return &govern.Order{Version: govern.OrderVersion, Domain: r.founding.Domain, Deed: d, Generation: 7, Expires: soon, Nonce: govern.Nonce{1}}
}

// open opens an order in the realm.
func (r *realm) openOrder(envelope []byte, want govern.Deed) error {
	o, err := r.founding.Standing.OpenOrder(r.founding.Policy, envelope, want)
	return consistent(o != nil, err)
}

// Who may have a domain rotate, and who may have it retire a generation.
func TestOrderSigners(t *testing.T) {
	r := newRealm(t)
	by := func(d govern.Deed, keys ...*govern.PrivateKey) error {
		return r.openOrder(signed(t, govern.OrderType, r.order(d), keys...), d)
	}
	threshold := r.signers[:r.charter.Threshold]
	for name, err := range map[string]error{
		"an operator rotates":              by(govern.DeedRotate, r.operator),
		"the owner rotates":                by(govern.DeedRotate, r.owner),
		"both rotate":                      by(govern.DeedRotate, r.owner, r.operator),
		"the threshold retires":            by(govern.DeedRetire, threshold...),
		"all signers retire":               by(govern.DeedRetire, r.signers...),
		"the owner signs a retirement too": by(govern.DeedRetire, append([]*govern.PrivateKey{r.owner}, threshold...)...),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	checkError(t, by(govern.DeedRotate), kms.Denied, "signatures", "neither the owner nor an operator")
	checkError(t, by(govern.DeedRotate, threshold...), kms.Denied, "signatures/0", "no say")
	checkError(t, by(govern.DeedRotate, r.operator, key(t, 50)), kms.Denied, "signatures/1", "no say")
	checkError(t, by(govern.DeedRetire), kms.Denied, "signatures", "signed by 0")
	checkError(t, by(govern.DeedRetire, threshold[1:]...), kms.Denied, "signatures", "signed by")
	checkError(t, by(govern.DeedRetire, r.owner), kms.Denied, "signatures", "signed by 0")
	checkError(t, by(govern.DeedRetire, r.operator), kms.Denied, "signatures/0", "no say")
}

func TestOrderRefused(t *testing.T) {
	r, elsewhere := newRealm(t), newRealmOf(t, kms.NodeID{77})
	good := signed(t, govern.OrderType, r.order(govern.DeedRotate), r.operator)
	checkError(t, r.openOrder(breakSignature(t, good, 0), govern.DeedRotate), kms.Denied, "signatures/0", "does not hold")
	checkError(t, r.openOrder(good, govern.DeedRetire), kms.Denied, "deed", "not to")
	checkError(t, r.openOrder(good, 0), kms.Denied, "deed", "not to")
	checkError(t, r.openOrder(signed(t, govern.OrderType, elsewhere.order(govern.DeedRotate), r.operator), govern.DeedRotate),
		kms.Denied, "domain", "another domain")
	checkError(t, r.openOrder(signed(t, govern.TicketType, r.order(govern.DeedRotate), r.operator), govern.DeedRotate),
		kms.Invalid, "payloadType", "an envelope with a ticket")
	_, err := govern.Standing{}.OpenOrder(r.founding.Policy, good, govern.DeedRotate)
	checkError(t, err, kms.Denied, "domain", "another domain")
	_, err = r.founding.Standing.OpenOrder(nil, good, govern.DeedRotate)
	checkError(t, err, kms.Denied, "deed", "nobody")
}

func TestOrderInvalid(t *testing.T) {
	r := newRealm(t)
	for field, edit := range map[string]func(*govern.Order){
		"version":    func(o *govern.Order) { o.Version = 2 },
		"domain":     func(o *govern.Order) { o.Domain = kms.DomainID{} },
		"deed":       func(o *govern.Order) { o.Deed = govern.DeedDrain + 1 },
		"generation": func(o *govern.Order) { o.Generation = 0 },
		"expires":    func(o *govern.Order) { o.Expires = soon.Add(1) },
		"nonce":      func(o *govern.Order) { o.Nonce = govern.Nonce{} },
	} {
		o := r.order(govern.DeedRotate)
		edit(o)
		checkInvalid(t, o.Validate(), kms.Invalid, field)
	}
	o := r.order(govern.DeedRetire)
	o.Generation = 0 // the first one may go
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if err := o.ValidAt(soon.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	checkError(t, o.ValidAt(soon), kms.Expired, "expires", "was good until")
}

// An operator or the owner has a node removed, and nobody else. Only that order
// names a node, and no generation.
func TestOrderToRemove(t *testing.T) {
	r := newRealm(t)
	o := r.order(govern.DeedRemove)
	o.Generation, o.Node = 0, kms.NodeID{7}
	open := func(by ...*govern.PrivateKey) error {
		_, err := r.founding.Standing.OpenOrder(r.founding.Policy, signed(t, govern.OrderType, o, by...), govern.DeedRemove)
		return err
	}
	for _, by := range []*govern.PrivateKey{r.operator, r.owner} {
		if err := open(by); err != nil {
			t.Error(err)
		}
	}
	checkError(t, open(), kms.Denied, "signatures", "neither the owner nor an operator")
	checkError(t, open(key(t, 50)), kms.Denied, "signatures/0", "no say")
	checkError(t, r.openOrder(signed(t, govern.OrderType, o, r.operator), govern.DeedRotate), kms.Denied, "deed", "not to")
	for field, edit := range map[string]func(*govern.Order){
		"node":       func(o *govern.Order) { o.Node = kms.NodeID{} },
		"generation": func(o *govern.Order) { o.Generation = 1 },
	} {
		bad := *o
		edit(&bad)
		checkInvalid(t, bad.Validate(), kms.Invalid, field)
	}
	for _, deed := range []govern.Deed{govern.DeedRotate, govern.DeedRetire} {
		bad := r.order(deed)
		bad.Node = kms.NodeID{7}
		checkInvalid(t, bad.Validate(), kms.Invalid, "node")
	}
}

// The form of an order is fixed for good: signatures are over it.
func TestOrderForm(t *testing.T) {
	o := &govern.Order{Version: 1, Domain: kms.DomainID{0xab}, Deed: govern.DeedRetire, Generation: 3,
		Expires: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), Nonce: govern.Nonce{0xcd}}
	const want = `{"version":1,"domain":"ab00000000000000000000000000000000000000000000000000000000000000","deed":"retire-generation",` +
		`"generation":3,"expires":"2027-01-02T03:04:05Z","nonce":"cd000000000000000000000000000000"}`
	if got := string(o.Canonical()); got != want {
		t.Errorf("prints as\n%s, want\n%s", got, want)
	}
	if _, err := govern.ParseOrder([]byte(want)); err != nil {
		t.Error(err)
	}
	o.Deed, o.Generation, o.Node = govern.DeedRemove, 0, kms.NodeID{0xef}
	const remove = `{"version":1,"domain":"ab00000000000000000000000000000000000000000000000000000000000000","deed":"remove-node","generation":0,` +
		`"node":"ef00000000000000000000000000000000000000000000000000000000000000","expires":"2027-01-02T03:04:05Z","nonce":"cd000000000000000000000000000000"}`
	if got := string(o.Canonical()); got != remove {
		t.Errorf("prints as\n%s, want\n%s", got, remove)
	}
}

func FuzzOrder(f *testing.F) {
	r := newRealm(f)
	f.Add(r.order(govern.DeedRotate).Canonical())
	f.Add(r.order(govern.DeedRetire).Canonical())
	fuzzDocument(f, func(b []byte) (canonical, error) { return govern.ParseOrder(b) })
}
