#!/bin/bash
# Installs the Debian packages that a build or the tests need, when something is missing.
#
#   deploy/packages.sh build   compiler front end for RocksDB's bindings and its C++ sources
#   deploy/packages.sh run     build, and kubectl
#   deploy/packages.sh test    run, and what the tests compare with and drive: etcd, etcdctl, HAProxy,
#                              keepalived, jq, strace, nftables,
#                              and into ~/.cache/trireme moto, an S3-compatible server, from PyPI, and an
#                              upstream kube-apiserver, which is built from Debian's source of it
#
# Installs as root; otherwise it prints the command to run and fails.
set -euo pipefail

need=()
want() { # want <command or path> <package>
    command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || need+=("$2")
}

build() {
    want clang clang
    want clang++ clang
    want cc gcc
    ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || need+=(libclang-dev)
}
run() {
    build
    want kubectl kubernetes-client
}
test_() {
    run
    want etcd etcd-server
    want etcdctl etcd-client
    want /usr/sbin/haproxy haproxy
    want python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
    want curl curl
    want strip binutils
    want jq jq
    want openssl openssl
    want strace strace
    # For hosts of their own that are broken: `make chaos`.
    want unshare util-linux
    want ip iproute2
    want /usr/sbin/nft nftables
    want /usr/sbin/keepalived keepalived
}

# In an environment of its own, by the versions that are pinned. Without it one test says that it is
# skipped.
moto() {
    local here dir
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    dir=${XDG_CACHE_HOME:-$HOME/.cache}/trireme/moto-$(sed -n 's/^moto==//p' "$here/moto.txt")
    [ ! -x "$dir/bin/moto_server" ] || return 0
    command -v python3 >/dev/null 2>&1 || return 0
    echo "installing moto into $dir"
    rm -rf "$dir"
    if ! { python3 -m venv "$dir" && "$dir/bin/pip" install -q --no-deps -r "$here/moto.txt"; }; then
        rm -rf "$dir"
        echo "moto cannot be installed: the backup is not tested against it" >&2
    fi
}

# Some minutes, once. Without it tests say that they are skipped.
kube_apiserver() {
    "$(dirname "${BASH_SOURCE[0]}")/kube-apiserver.sh" ||
        echo "there is no upstream kube-apiserver: the store is not tested under one" >&2
}

case "${1:-}" in
    build) build ;;
    run) run ;;
    test) test_ ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

finish() {
    [ "$1" != test ] || { moto; kube_apiserver; }
    exit 0
}
[ ${#need[@]} -gt 0 ] || finish "$1"
mapfile -t need < <(printf '%s\n' "${need[@]}" | sort -u)
if [ "$(id -u)" != 0 ]; then
    echo "packages are missing; install them with" >&2
    echo "  sudo apt-get install --no-install-recommends ${need[*]}" >&2
    exit 1
fi
echo "installing ${need[*]}"
export DEBIAN_FRONTEND=noninteractive
# A service that starts by itself would take the ports that the tests use.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    made_policy=1
fi
trap '[ -z "$made_policy" ] || rm -f $policy' EXIT
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
finish "$1"
