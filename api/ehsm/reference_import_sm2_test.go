package ehsm_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReferenceImportBySM2: eHSM's documents have SM2 wrapping keys, its code
// never did (Appendix A). The public key is what GetPublicKey hands out of an SM2
// key; what is encrypted to it with SM2 becomes the key, whatever padding is named.
func TestReferenceImportBySM2(t *testing.T) {
	s := newSite(t)
	materialFailed, tokenRefused := refusal(500, "Import key failed."), refusal(500, "ImportToken failed.")
	material := []byte("0123456789abcdef0123456789abcdef")
	id := s.create("EH_AES_GCM_256", external, encrypts)
	got := s.ask("GetParametersForImport", payload{"keyid": id, "keyspec": "EH_SM2"})
	public, token := text(got, "pubkey"), text(got, "importToken")
	if block, rest := pem.Decode([]byte(public)); block == nil || len(rest) > 0 || block.Type != "PUBLIC KEY" {
		t.Fatalf("not SubjectPublicKeyInfo in PEM: %v", got)
	}
	bring := func(id, padding string, material []byte) payload {
		return payload{"keyid": id, "padding_mode": padding, "key_material": material, "importToken": token}
	}

	// Without a key that fits nothing opens, and all of it is answered alike.
	_, toRSA := s.parameters(id)
	for _, wrapped := range [][]byte{material, {0x30}, sealOAEP(t, toRSA, material), bytes.Repeat([]byte{0x30, 0x80}, 3000)} {
		s.want(materialFailed, "ImportKeyMaterial", bring(id, oaep, wrapped))
	}
	other := s.create("EH_AES_GCM_256", external, encrypts)
	s.want(tokenRefused, "ImportKeyMaterial", bring(other, oaep, material))

	wrapped := encryptSM2(t, public, material)
	s.want(materialFailed, "ImportKeyMaterial", bring(id, oaep, encryptSM2(t, public, material[:31])))
	s.want(materialFailed, "ImportKeyMaterial", bring(id, oaep, append(bytes.Clone(wrapped), 0)))
	s.want(validated, "ImportKeyMaterial", bring(id, pkcs1, wrapped))
	sealed := s.get("Encrypt", "ciphertext", payload{"keyid": id, "plaintext": hello})
	if !bytes.Equal(openGCM(t, material, sealed, nil), hello) {
		t.Error("it is not the key that was brought")
	}
}

// encryptSM2 is what a tenant does: OpenSSL's ciphertexts are ASN.1 as well.
func encryptSM2(t *testing.T, public string, material []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: the openssl command is not installed, so nothing was encrypted with SM2")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "public.pem"), []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(material)
	wrapped, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	return wrapped
}
