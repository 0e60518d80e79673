#!/bin/bash
# Installs the Debian packages that a build or the tests need, when something is missing.
#
#   deploy/packages.sh build   compiler front end for RocksDB's bindings and its C++ sources
#   deploy/packages.sh run     build, and kubectl
#   deploy/packages.sh test    run, and what the tests compare with and drive: etcd, etcdctl, HAProxy, jq
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
    want curl curl
    want strip binutils
    want jq jq
    want openssl openssl
}

case "${1:-}" in
    build) build ;;
    run) run ;;
    test) test_ ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

[ ${#need[@]} -gt 0 ] || exit 0
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
