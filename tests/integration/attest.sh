#!/bin/sh
# attest: runs attest_test against two software TPMs of its own.
#
#   attest.sh BINARY                      the tests
#   ENFILADE_RECORD=DIR attest.sh BINARY  writes a recorded quote into DIR instead (tests/vectors/own/tpm)
set -eu
swtpm=$(cd "$(dirname "$0")/../../deploy/examples" && pwd)/tpm
work=$(mktemp -d)
finish() {
    "$swtpm" stop "$work/one" || :
    "$swtpm" stop "$work/two" || :
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM
ENFILADE_TCTI=$("$swtpm" start "$work/one")
ENFILADE_TCTI_OTHER=$("$swtpm" start "$work/two")
# shellcheck disable=SC2089,SC2090 # system() reads the quotes
ENFILADE_TCTI_RESET="'$swtpm' stop '$work/one' && '$swtpm' start '$work/one' >'$work/reset'"
TSS2_LOG=all+NONE # the stack's own words about refusals that are expected here
# shellcheck disable=SC2090
export ENFILADE_TCTI ENFILADE_TCTI_OTHER ENFILADE_TCTI_RESET TSS2_LOG
timeout 60 "$1"
