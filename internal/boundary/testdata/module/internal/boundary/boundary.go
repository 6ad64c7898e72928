package boundary

import (
	_ "example.test/m/kms" // want `depends on none of them`
)
