package tee_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/tsm"
)

// folder plays /dev/attestation as far as it is needed to find it.
type folder map[string]string

func (f folder) ReadFile(name string, _ int) ([]byte, error) {
	b, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(b), nil
}

func (f folder) WriteFile(string, []byte) error { return fs.ErrPermission }

// configfs plays the kernel's as far as it is needed to find it: one entry,
// whose provider it is. Empty: there is none.
type configfs string

func (c configfs) MkdirTemp(dir, _ string) (string, error) {
	if c == "" {
		return "", fs.ErrNotExist
	}
	return dir + "/entry", nil
}

func (c configfs) ReadFile(name string) ([]byte, error) {
	switch {
	case strings.HasSuffix(name, "/generation"):
		return []byte("0\n"), nil
	case strings.HasSuffix(name, "/provider"):
		return []byte(c), nil
	}
	return nil, fs.ErrNotExist
}

func (configfs) WriteFile(string, []byte) error        { return fs.ErrPermission }
func (configfs) RemoveAll(string) error                { return nil }
func (configfs) ReadDir(string) ([]os.DirEntry, error) { return nil, fs.ErrPermission }

var _ configfsi.Client = configfs("")

func TestDetect(t *testing.T) {
	under, direct := folder{"attestation_type": "dcap"}, folder{"attestation_type": "none"}
	for _, tt := range []struct {
		name    string
		gramine folder
		tsm     configfs
		want    string // the platform, or what the error says
		fails   bool
	}{
		{"Gramine", under, "", "sgx", false},
		{"Gramine in a virtual machine", under, "tdx_guest", "sgx", false},
		{"TDX", nil, "tdx_guest\n", "tdx", false},
		{"SEV-SNP", nil, "sev_guest\n", "snp", false},
		{"nothing", nil, "", "no trusted execution environment", true},
		// What is there and does not work is never passed over for something else.
		{"Gramine without SGX, in a virtual machine", direct, "tdx_guest", `attests by "none"`, true},
		{"a TEE that is not known", nil, "arm_cca_guest", "arm_cca_guest", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tee.Devices{Gramine: tt.gramine, TSM: tsm.Config{Configfs: tt.tsm}}.Detect(t.Context())
			if !tt.fails {
				if err != nil || p.Name() != tt.want {
					t.Errorf("%v, %v", p, err)
				}
				return
			}
			if !errors.Is(err, kms.Unavailable) || p != nil || !strings.Contains(err.Error(), tt.want) || kms.HintOf(err) == "" {
				t.Errorf("%v, hint %q", err, kms.HintOf(err))
			}
			if none := strings.Contains(err.Error(), "found no trusted"); none != (tt.gramine == nil && tt.tsm == "") {
				t.Errorf("it says that there is none: %t: %v", none, err)
			}
		})
	}
}

// TestHint says what to use where there is nothing.
func TestHint(t *testing.T) {
	_, err := tee.Devices{Gramine: folder{}, TSM: tsm.Config{Configfs: configfs("")}}.Detect(t.Context())
	for _, want := range []string{"gramine-sgx", "TDX", "SEV-SNP", "6.7", "holdfast dev"} {
		if !strings.Contains(kms.HintOf(err), want) {
			t.Errorf("%q does not name %q", kms.HintOf(err), want)
		}
	}
}

// TestThisMachine looks for real. Where there is a TEE this says so.
func TestThisMachine(t *testing.T) {
	p, err := tee.Detect(t.Context())
	switch {
	case err == nil:
		t.Logf("this machine is %q", p.Name())
	case !errors.Is(err, kms.Unavailable) || kms.HintOf(err) == "":
		t.Error(err)
	}
}
