# lib.sh: what deploy/quickstart and tests/run share: packages, the invoking user, messages. Sourced, not run.

say() { printf '%s\n' "$*" >&2; }
die() { printf 'enfilade: %s\n' "$1" >&2; exit "${2:-1}"; }

# packages_of KIND… : the package names of these kinds
packages_of() {
    local kind
    for kind in "$@"; do
        sed -n "s/^$kind //p" "$top/deploy/packages"
    done | tr ' ' '\n' | sed '/^$/d' | sort -u
}

# packages_need KIND… : installs what is missing when run as root, else says what to install
packages_need() {
    local missing=() name
    for name in $(packages_of "$@"); do
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    [ "$(id -u)" -eq 0 ] || die "these Debian packages are missing: ${missing[*]}
run it with sudo, or: apt-get install ${missing[*]}" 2
    say "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 || die "apt-get update failed; see above" 1
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || die "apt-get install failed; see above" 1
}

# The user who called sudo, or who runs this.
invoking_user() { printf '%s' "${SUDO_USER:-$(id -un)}"; }

# as_user COMMAND… : as the invoking user, when we are root for another
as_user() {
    if [ "$(id -u)" -eq 0 ] && [ "$(invoking_user)" != root ]; then
        runuser -u "$(invoking_user)" -- "$@"
    else
        "$@"
    fi
}

# build_in DIR CMAKE-ARGUMENTS… : configure and build ($TARGETS, default: all), quiet unless it fails
build_in() {
    local dir=$1 log
    shift
    as_user mkdir -p "$dir"
    log=$dir/build.log
    if ! as_user sh -c 'd=$1; t=$2; n=$3; shift 3
        { cmake -G Ninja -S "$t" -B "$d" "$@" && ninja -C "$d" $n; } >"$d/build.log" 2>&1' \
        sh "$dir" "$top" "${TARGETS:-all}" "$@"; then
        tail -n 40 "$log" >&2
        die "the build in $dir failed; the whole log is $log" 1
    fi
}
