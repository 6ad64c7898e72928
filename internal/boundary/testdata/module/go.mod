module example.test/m

go 1.26.0

require github.com/hashicorp/raft v0.0.0

replace github.com/hashicorp/raft => ./raft
