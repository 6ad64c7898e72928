#!/bin/sh
# Has @phala/dcap-qvl, an SGX and TDX verifier in JavaScript that is no work of
# ours, judge what attest/simtee mints: each quote must be accepted under the
# development root with the status that it was minted for, and refused under
# Intel's.
#
# Needs: go; node 14 or later and npm; a registry that npm can reach. Installs
# the verifier, without running its install scripts, in a folder that is removed
# afterwards. Without node or npm it judges nothing, says so and succeeds; set
# REQUIRE_QVL=1 to have it fail then.
set -eu
cd "$(dirname "$0")/../attestation"

version=0.3.9

for tool in node npm; do
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "SKIPPED: NOTHING IS JUDGED. $tool is not there; install node and npm to have quotes judged by @phala/dcap-qvl." >&2
		[ -z "${REQUIRE_QVL:-}" ]
		exit
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/evidence" "$work/npm"

npm install --prefix "$work/npm" --ignore-scripts --no-audit --no-fund --no-save --loglevel=error "@phala/dcap-qvl@$version"
go test -count=1 -run '^TestWrite$' . -out "$work/evidence"
NODE_PATH="$work/npm/node_modules" node judge.js "$work/evidence"
