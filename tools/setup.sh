#!/bin/sh
# Make a virtual environment with quotelife built and installed in it.
#   tools/setup.sh VENV MODE EXTRAS     MODE: release or debug; EXTRAS: server or server,dev
# PYTHON names the interpreter to try first, CONSTRAINTS a pip constraints file.
# As root on Debian the missing system packages are installed; otherwise the one apt-get line is printed.
set -eu
venv=$1 mode=$2 extras=$3
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*"; }

python=
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done

missing=
[ -n "$python" ] || missing="$missing python3"
if [ -z "$python" ] || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then missing="$missing python3-venv"; fi
if [ -z "$python" ] || ! "$python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' 2>/dev/null; then
    missing="$missing python3-dev"
fi
command -v gcc >/dev/null 2>&1 || missing="$missing gcc"
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing$missing"
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
        [ -n "$python" ] || python=python3
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            say "Python 3.11 or newer is needed; set PYTHON to one"
            exit 1
        }
    else
        say "these system packages are missing; run:"
        printf '\n    apt-get update && apt-get install -y --no-install-recommends%s\n\n' "$missing"
        exit 1
    fi
fi

# The native gRPC front end wants nghttp2. Without it gRPC's own server takes its place, so that it is no reason to stop.
has_nghttp2() {
    probe=$(mktemp) found=0
    # shellcheck disable=SC2086
    ${CC:-gcc} ${CPPFLAGS:-} ${CFLAGS:-} tools/has_nghttp2.c ${LDFLAGS:-} -lnghttp2 -o "$probe" 2>/dev/null || found=1
    rm -f "$probe"
    return "$found"
}
if ! has_nghttp2; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing libnghttp2-dev"
        { apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libnghttp2-dev &&
            has_nghttp2; } ||
            say "nghttp2 1.52 or newer could not be had: the service will speak gRPC through grpc.aio"
    else
        say "nghttp2 1.52 or newer is missing: the service will speak gRPC through grpc.aio, at many times the cost a call."
        say "to mend it run the following, then this again:"
        printf '\n    apt-get update && apt-get install -y --no-install-recommends libnghttp2-dev\n\n'
    fi
fi

if [ ! -x "$venv/bin/python" ]; then
    say "creating $venv with $($python --version)"
    "$python" -m venv "$venv"
fi

# pip builds the client in its own folder and keeps what is there; it is plain Python, so nothing is lost.
rm -rf clients/python/build

# What pip tells at length, as a line every few seconds; all of it stays in a file for the case that something fails.
started=$(date +%s)
modules=$(find core server -name '*.pyx' | wc -l)
mkdir -p build
log=build/setup-$mode.log
: > "$log"
told=0
step() {                                  # a line of progress, unless the last one is less than five seconds old
    now=$(date +%s)
    [ $((now - told)) -ge 5 ] || return 0
    told=$now
    say "$* ($((now - started)) s)"
}
show() {
    translated=0 compiled=0 result=1
    while IFS= read -r line; do
        case $line in
        'setup-result '*) result=${line#* } ;;
        *'Collecting '*) step "fetching ${line##*Collecting }" ;;
        *'] Cythonizing '*)
            translated=$((translated + 1))
            step "translating $translated of $modules: ${line##*/}" ;;
        *"building '"*"' extension"*)
            compiled=$((compiled + 1)) name=${line#*\'}
            step "compiling $compiled of $modules: ${name%%\'*}" ;;
        *'Installing collected packages'*) told=0 && step "installing" ;;
        esac
        printf '%s\n' "$line" >> "$log"
    done
    return "$result"
}

say "translating and compiling $modules modules ($mode) into $venv, later only what has changed; log in $log"
say "the first time takes about 3 minutes on two free cores, this machine has $(nproc); Ctrl-C stops it"
{
    code=0
    QUOTELIFE_BUILD=$mode PYTHONUNBUFFERED=1 "$venv/bin/python" -m pip install -v --disable-pip-version-check \
        ${CONSTRAINTS:+-c "$CONSTRAINTS"} ./clients/python ".[$extras]" 2>&1 || code=$?
    echo "setup-result $code"
} | show || {
    tail -n 40 "$log"
    say "failed; the whole output is in $log"
    exit 1
}
say "done in $(($(date +%s) - started)) s"
