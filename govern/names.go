package govern

import "github.com/holdfast-kms/holdfast/kms"

func usageNames(set kms.Usages) []string {
	names := []string{}
	for _, u := range kms.AllUsages() {
		if set.Has(u) {
			names = append(names, u.String())
		}
	}
	return names
}

// usageOf is the usage of that name, zero for what is none.
func usageOf(name string) kms.Usages {
	for _, u := range kms.AllUsages() {
		if u.String() == name {
			return kms.Usages(u)
		}
	}
	return 0
}

var allPermissions = [...]struct {
	p    kms.Permissions
	name string
}{{kms.PermUse, "use"}, {kms.PermManage, "manage"}, {kms.PermSecrets, "secrets"}, {kms.PermRead, "read"}, {kms.PermValues, "values"}}

func permissionNames(set kms.Permissions) []string {
	names := []string{}
	for _, p := range allPermissions {
		if set&p.p != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

// permissionOf is the permission of that name, zero for what is none.
func permissionOf(name string) kms.Permissions {
	for _, p := range allPermissions {
		if p.name == name {
			return p.p
		}
	}
	return 0
}
