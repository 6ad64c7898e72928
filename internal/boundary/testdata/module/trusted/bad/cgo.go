//go:build never

package bad

import "C" // want `what it loads is not checked`
