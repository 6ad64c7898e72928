package core_test

import "github.com/holdfast-kms/holdfast/trusted/server"

// snapshotEvery is so small that a few entries outlive their log.
const snapshotEvery = 8

func everySnapshot(c *server.Config) { c.SnapshotEvery = snapshotEvery }
