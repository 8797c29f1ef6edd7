#!/bin/sh
# swtpm: starts and stops a software TPM 2.0 that keeps its state in one folder.
#
#   swtpm.sh start DIR    prints the TCTI string (swtpm:path=DIR/tpm) when it answers; DIR is made if absent.
#                         Started again over the same DIR it is the same TPM after a reset.
#   swtpm.sh stop DIR     orderly shutdown; the state stays. Nothing to stop is fine.
#
# A start that does not answer within 5 seconds fails, shows the log and leaves no process. One client at a time: swtpm
# serves the next connection when the one before it is closed.
set -eu

LIMIT=50 # tenths of a second

die() {
    echo "swtpm.sh: $*" >&2
    exit 1
}

answers() { # the control channel: tpm2-tss looks for it at the socket's path + ".ctrl"
    swtpm_ioctl --unix "$1/tpm.ctrl" -c >/dev/null 2>&1
}

running() { # the pid file names a live swtpm
    pid=$(cat "$1/tpm.pid" 2>/dev/null) && [ -n "$pid" ] && [ "$(ps -o comm= -p "$pid" 2>/dev/null)" = swtpm ]
}

wait_until() { # command...: at most LIMIT tenths of a second
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt $LIMIT ] || return 1
        sleep 0.1
    done
}

gone() {
    ! running "$1"
}

start() {
    mkdir -p "$1/tpm.state"
    dir=$(cd "$1" && pwd)
    [ ${#dir} -lt 90 ] || die "$dir: too long for a unix socket"
    running "$dir" && die "$dir: its TPM runs already"
    rm -f "$dir/tpm" "$dir/tpm.ctrl" "$dir/tpm.pid"
    swtpm socket --tpm2 --tpmstate dir="$dir/tpm.state" --server type=unixio,path="$dir/tpm" \
        --ctrl type=unixio,path="$dir/tpm.ctrl" --flags not-need-init,startup-clear \
        --pid file="$dir/tpm.pid" --log file="$dir/tpm.log" --daemon >&2 || die "swtpm did not start"
    if ! wait_until answers "$dir"; then
        cat "$dir/tpm.log" >&2 || :
        stop "$dir"
        die "$dir: no answer"
    fi
    echo "swtpm:path=$dir/tpm"
}

stop() {
    running "$1" || return 0
    swtpm_ioctl --unix "$1/tpm.ctrl" -s >/dev/null 2>&1 || :
    wait_until gone "$1" && return 0
    kill "$pid" 2>/dev/null || :
    wait_until gone "$1" && return 0
    kill -9 "$pid" 2>/dev/null || :
    wait_until gone "$1" || die "process $pid does not end"
}

[ $# -eq 2 ] || die "usage: swtpm.sh start|stop DIR"
case $1 in
start | stop) "$1" "$2" ;;
*) die "usage: swtpm.sh start|stop DIR" ;;
esac
