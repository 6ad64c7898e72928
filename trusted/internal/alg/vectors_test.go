package alg_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/sm"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

func imported(t *testing.T, s kms.Spec, material []byte) alg.Key {
	t.Helper()
	stored, err := alg.Import(s, secret.Copy(material))
	if err != nil {
		t.Fatal(err)
	}
	k, err := alg.Parse(s, stored)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func derSignature(t *testing.T, r, s string) []byte {
	t.Helper()
	number := func(text string) *big.Int {
		n, ok := new(big.Int).SetString(text, 16)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		return n
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{number(r), number(s)})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// RFC 6979, appendix A.2 (P-224 to P-521), and signatures by the same method
// over secp256k1: all over SHA-256.
func TestECDSAKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		spec         kms.Spec
		key, message string
		r, s         string
	}{
		{kms.ECP224, "F220266E1105BFE3083E03EC7A3A654651F45E37167E88600BF257C1", "sample",
			"61AA3DA010E8E8406C656BC477A7A7189895E7E840CDFE8FF42307BA",
			"BC814050DAB5D23770879494F9E0A680DC1AF7161991BDE692B10101"},
		{kms.ECP224, "F220266E1105BFE3083E03EC7A3A654651F45E37167E88600BF257C1", "test",
			"AD04DDE87B84747A243A631EA47A1BA6D1FAA059149AD2440DE6FBA6",
			"178D49B1AE90E3D8B629BE3DB5683915F4E8C99FDF6E666CF37ADCFD"},
		{kms.ECP256, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721", "sample",
			"EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
			"F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
		{kms.ECP256, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721", "test",
			"F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
			"019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"},
		{kms.ECP384, "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5", "sample",
			"21B13D1E013C7FA1392D03C5F99AF8B30C570C6F98D4EA8E354B63A21D3DAA33BDE1E888E63355D92FA2B3C36D8FB2CD",
			"F3AA443FB107745BF4BD77CB3891674632068A10CA67E3D45DB2266FA7D1FEEBEFDC63ECCD1AC42EC0CB8668A4FA0AB0"},
		{kms.ECP384, "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5", "test",
			"6D6DEFAC9AB64DABAFE36C6BF510352A4CC27001263638E5B16D9BB51D451559F918EEDAF2293BE5B475CC8F0188636B",
			"2D46F3BECBCC523D5F1A1256BF0C9B024D879BA9E838144C8BA6BAEB4B53B47D51AB373F9845C0514EEFB14024787265"},
		{kms.ECP521, "00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538", "sample",
			"1511BB4D675114FE266FC4372B87682BAECC01D3CC62CF2303C92B3526012659D16876E25C7C1E57648F23B73564D67F61C6F14D527D54972810421E7D87589E1A7",
			"04A171143A83163D6DF460AAF61522695F207A58B95C0644D87E52AA1A347916E4F7A72930B1BC06DBE22CE3F58264AFD23704CBB63B29B931F7DE6C9D949A7ECFC"},
		{kms.ECP521, "00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538", "test",
			"00E871C4A14F993C6C7369501900C4BC1E9C7B0B4BA44E04868B30B41D8071042EB28C4C250411D0CE08CD197E4188EA4876F279F90B3D8D74A3C76E6F1E4656AA8",
			"0CD52DBAA33B063C3A6CD8058A1FB0A46A4754B034FCC644766CA14DA8CA5CA9FDE00E88C1AD60CCBA759025299079D7A427EC3CC5B619BFBC828E7769BCD694E86"},
		{kms.ECSecp256k1, "0000000000000000000000000000000000000000000000000000000000000001", "Satoshi Nakamoto",
			"934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8",
			"2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"},
	} {
		k := imported(t, c.spec, unhex(c.key))
		in := kms.SigningInput{Message: []byte(c.message), Digest: kms.SHA256}
		if ok, err := k.Verify(in, derSignature(t, c.r, c.s)); !ok || err != nil {
			t.Errorf("%s, %q: %t, %v", c.spec, c.message, ok, err)
		}
	}
}

// GM/T 0003.5 (GB/T 32918.5), annexes A and C: signature and encryption over the
// recommended curve.
func TestSM2KnownAnswers(t *testing.T) {
	const (
		key = "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8"
		x   = "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
		y   = "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
		e   = "F0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640"
	)
	priv, err := sm.Parse(unhex(key))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(priv.Public()); !strings.EqualFold(got, "04"+x+y) {
		t.Errorf("public point is %s", got)
	}
	if got := hex.EncodeToString(priv.Hash([]byte("message digest"))); !strings.EqualFold(got, e) {
		t.Errorf("digest of Z and the message is %s", got)
	}
	k := imported(t, kms.SM2, unhex(key))
	sig := derSignature(t, "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3",
		"B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")
	if ok, err := k.Verify(kms.SigningInput{Message: []byte("message digest"), Digest: kms.SM3}, sig); !ok || err != nil {
		t.Errorf("signature: %t, %v", ok, err)
	}
	number := func(s string) *big.Int { return new(big.Int).SetBytes(unhex(s)) }
	body, err := asn1.Marshal(struct {
		X, Y      *big.Int
		Hash, Out []byte
	}{
		number("04EBFC718E8D1798620432268E77FEB6415E2EDE0E073C0F4F640ECD2E149A73"),
		number("E858F9D81E5430A57B36DAAB8F950A3C64E6EE6A63094D99283AFF767E124DF0"),
		unhex("59983C18F809E262923C53AEC295D30383B54E39D609D160AFCB1908D0BD8766"),
		unhex("21886CA989CA9C7D58087307CA93092D651EFA"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.AsymmetricDecrypt(body, 0); err != nil || string(got) != "encryption standard" {
		t.Errorf("ciphertext opens to %q, %v", got, err)
	}
}

// GB/T 32905, annex A.
func TestSM3KnownAnswers(t *testing.T) {
	for message, want := range map[string]string{
		"abc":                      "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
		strings.Repeat("abcd", 16): "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
	} {
		if got := sm.SM3([]byte(message)); hex.EncodeToString(got[:]) != want {
			t.Errorf("%q: %x", message, got)
		}
	}
}

const sm4Key = "0123456789abcdeffedcba9876543210"

// GB/T 32907, annex A: one block, and a million times over.
func TestSM4KnownAnswers(t *testing.T) {
	block, err := sm.NewSM4(unhex(sm4Key))
	if err != nil {
		t.Fatal(err)
	}
	state := unhex(sm4Key) // the plaintext is the key
	block.Encrypt(state, state)
	if got := hex.EncodeToString(state); got != "681edf34d206965e86b3e94f536e4246" {
		t.Errorf("one block: %s", got)
	}
	block.Decrypt(state, state)
	if got := hex.EncodeToString(state); got != sm4Key {
		t.Errorf("and back: %s", got)
	}
	if testing.Short() {
		return
	}
	for range 1_000_000 {
		block.Encrypt(state, state)
	}
	if got := hex.EncodeToString(state); got != "595298c7c6fd271f0402f804c33d3f66" {
		t.Errorf("a million times: %s", got)
	}
}

// draft-ribose-cfrg-sm4-10, appendix A.2.2 (CBC) and A.2.5 (CTR), in eHSM's
// layout: the vector follows the ciphertext. The draft's CBC has no padding, so
// one block of it is added, encrypted as CBC chains it.
func TestSM4ModeKnownAnswers(t *testing.T) {
	const iv = "000102030405060708090a0b0c0d0e0f"
	ctr := imported(t, kms.SM4CTR, unhex(sm4Key))
	body := unhex("ac3236cb970cc20791364c395a1342d1a3cbc1878c6f30cd074cce385cdd70c7f234bc0e24c11980fd1286310ce37b92" +
		"6e02fcd0faa0baf38b2933851d824514" + iv)
	got, err := ctr.Decrypt(nil, body, nil)
	if err != nil || hex.EncodeToString(got) != "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"+
		"eeeeeeeeeeeeeeeeffffffffffffffffaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb" {
		t.Errorf("CTR: %x, %v", got, err)
	}

	cbc := imported(t, kms.SM4CBC, unhex(sm4Key))
	block, _ := sm.NewSM4(unhex(sm4Key))
	known := unhex("78ebb11cc40b0a48312aaeb2040244cb4cb7016951909226979b0d15dc6a8f6d")
	padding := bytes.Repeat([]byte{16}, 16)
	for i := range padding {
		padding[i] ^= known[16+i]
	}
	block.Encrypt(padding, padding)
	got, err = cbc.Decrypt(nil, bytes.Join([][]byte{known, padding, unhex(iv)}, nil), nil)
	if err != nil || hex.EncodeToString(got) != "aaaaaaaabbbbbbbbccccccccddddddddeeeeeeeeffffffffaaaaaaaabbbbbbbb" {
		t.Errorf("CBC: %x, %v", got, err)
	}
}

// RFC 8032, section 7.1: Ed25519 is deterministic, so signatures are the same.
func TestEd25519KnownAnswers(t *testing.T) {
	for _, c := range []struct{ seed, public, message, sig string }{
		{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
		{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
	} {
		k := imported(t, kms.Ed25519, unhex(c.seed))
		spki, err := k.Public()
		if err != nil || hex.EncodeToString(spki) != "302a300506032b6570032100"+c.public {
			t.Errorf("public half: %x, %v", spki, err)
		}
		got, err := k.Sign(kms.SigningInput{Message: unhex(c.message)})
		if err != nil || hex.EncodeToString(got) != c.sig {
			t.Errorf("%q: %x, %v", c.message, got, err)
		}
	}
}

// RFC 4231, the cases whose keys are long enough to be keys: case 2 is "Jefe",
// and case 5 is truncated.
func TestHMACKnownAnswers(t *testing.T) {
	const large = "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."
	for _, c := range []struct {
		name, key, message             string
		mac224, mac256, mac384, mac512 string
	}{
		{"1", strings.Repeat("\x0b", 20), "Hi There",
			"896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
			"afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
			"87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
		{"3", strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50),
			"7fb3cb3588c6c1f6ffa9694d7d6ad2649365b0c1f65d69d1ec8333ea",
			"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
			"88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
			"fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"},
		{"4", string(unhex("0102030405060708090a0b0c0d0e0f10111213141516171819")), strings.Repeat("\xcd", 50),
			"6c11506874013cac6a2abc1bb382627cec6a90d86efc012de7afec5a",
			"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
			"3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
			"b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"},
		{"6", strings.Repeat("\xaa", 131), "Test Using Larger Than Block-Size Key - Hash Key First",
			"95e9a0db962095adaebe9b2d6f0dbce2d499f112f2d2b7273fa6870e",
			"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
			"4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
			"80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
		{"7", strings.Repeat("\xaa", 131), large,
			"3a854166ac5d9f023f54d517d0b39dbd946770db9c2b95c9f6f565d1",
			"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
			"6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e",
			"e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58"},
	} {
		for spec, want := range map[kms.Spec]string{kms.HMACSHA224: c.mac224, kms.HMACSHA256: c.mac256, kms.HMACSHA384: c.mac384, kms.HMACSHA512: c.mac512} {
			k := imported(t, spec, []byte(c.key))
			if got, err := k.MAC([]byte(c.message)); err != nil || hex.EncodeToString(got) != want {
				t.Errorf("case %s, %s: %x, %v", c.name, spec, got, err)
			}
			if ok, err := k.VerifyMAC([]byte(c.message), unhex(want)); !ok || err != nil {
				t.Errorf("case %s, %s: %t, %v", c.name, spec, ok, err)
			}
		}
	}
}

// RSA with OAEP, PSS and PKCS #1 v1.5. The last is deterministic.
func TestRSAKnownAnswers(t *testing.T) {
	digests := map[string]kms.Digest{"SHA-224": kms.SHA224, "SHA-256": kms.SHA256, "SHA-384": kms.SHA384, "SHA-512": kms.SHA512}
	for _, v := range rsaVectors() {
		spec, err := kms.ParseSpec(v.Spec)
		if err != nil {
			t.Fatal(err)
		}
		in := kms.SigningInput{Message: unhex(v.Message), Digest: digests[v.Digest]}
		switch v.Scheme {
		case "OAEP":
			got, err := imported(t, spec, unhex(v.Key)).AsymmetricDecrypt(unhex(v.Output), kms.PaddingOAEP)
			if err != nil || hex.EncodeToString(got) != v.Message {
				t.Errorf("%s, OAEP: %x, %v", spec, got, err)
			}
		case "PSS":
			in.Padding = kms.PaddingPSS
			k, err := alg.ParsePublic(spec, unhex(v.Key))
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := k.Verify(in, unhex(v.Output)); !ok || err != nil {
				t.Errorf("%s, PSS, %s: %t, %v", spec, v.Digest, ok, err)
			}
		case "PKCS1":
			in.Padding = kms.PaddingPKCS1
			if got, err := imported(t, spec, unhex(v.Key)).Sign(in); err != nil || hex.EncodeToString(got) != v.Output {
				t.Errorf("%s, PKCS #1, %s: %x, %v", spec, v.Digest, got, err)
			}
		default:
			t.Errorf("unknown scheme %q", v.Scheme)
		}
	}
}

// The draft's vectors: the bytes that rejected ciphertexts open to are the same
// as OpenSSL's.
func TestImplicitRejectionKnownAnswers(t *testing.T) {
	data, err := os.ReadFile("testdata/implicit-rejection.txt")
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]kms.Spec{"RSA-2048": kms.RSA2048, "RSA-3072": kms.RSA3072}
	count := 0
	for _, section := range strings.Split(string(data), "\nkey = ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		block, vectors := pem.Decode([]byte(rest))
		k := imported(t, specs[name], block.Bytes)
		for _, v := range strings.Split(string(vectors), "name = ")[1:] {
			lines := strings.Split(v, "\n")
			in := unhex(strings.TrimPrefix(lines[1], "in = "))
			want := strings.TrimSpace(strings.TrimPrefix(lines[2], "out ="))
			got, err := k.AsymmetricDecrypt(in, kms.PaddingPKCS1)
			if err != nil || hex.EncodeToString(got) != want {
				t.Errorf("%s, %s: %x, %v; want %s", name, lines[0], got, err, want)
			}
			count++
		}
	}
	if count != 19 {
		t.Errorf("%d vectors were read, want 19", count)
	}
}
