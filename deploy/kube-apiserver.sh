#!/bin/bash
# Builds the upstream kube-apiserver that a test runs on the store, out of what Debian keeps: the source
# of bookworm's package, and the compiler that upstream built that release with, which is bullseye's.
# Nothing is installed and nothing needs root. The program is kept in
# ~/.cache/trireme/kube-apiserver-<version>; while it is there nothing is done. Otherwise it takes about
# five minutes on two cores, 120 MB of downloads, and 2 GB of disk while it lasts.
# $TRIREME_KUBE_APISERVER names another program instead.
set -euo pipefail

version=1.20.2
# The tree as upstream released it, with all that it vendors; Debian's patches are not in it.
package=kubernetes
sha256=b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc
# Built by Go 1.18 or newer, this release dies of its JSON library as soon as it is given a custom resource.
go_version=1.15
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

dir=${XDG_CACHE_HOME:-$HOME/.cache}/trireme/kube-apiserver-$version
program=${TRIREME_KUBE_APISERVER:-$dir/kube-apiserver}
[ ! -x "$program" ] || exit 0
[ -z "${TRIREME_KUBE_APISERVER:-}" ] || { echo "TRIREME_KUBE_APISERVER=$program is no program" >&2; exit 1; }
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || [ ! -e $keyring ]; then
    echo "its source and its compiler come from Debian, by apt-get and with $keyring" >&2
    exit 1
fi

mkdir -p "$dir"
exec 9>"$dir/.lock"
flock -n 9 || { echo "another process builds it: waiting"; flock 9; }
[ ! -x "$program" ] || exit 0
say() { echo "kube-apiserver $version: $*"; }

# What a build that was killed has left.
rm -rf "$dir"/build.*
work=$(mktemp -d "$dir/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/path/src/k8s.io/kubernetes
mkdir -p "$work"/{lists/partial,archives/partial} "$tree"

# Lists and downloads of its own: signatures are checked, and the system's stay as they are.
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
        -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@"
}
fetch() { # fetch <mirror>
    printf '%s [signed-by=%s] %s %s main\n' deb-src $keyring "$1" bookworm deb $keyring "$1" bullseye \
        >"$work/sources.list"
    (cd "$work" && apt update && apt source --download-only --tar-only $package &&
        apt download golang-$go_version-go golang-$go_version-src) >"$work/fetched" 2>&1
}
say "fetching its source and its compiler"
# Releases that are no longer kept up go to the archive.
fetch http://deb.debian.org/debian || fetch http://archive.debian.org/debian || { cat "$work/fetched" >&2; exit 1; }
tarball=("$work"/*.orig.tar.gz)
echo "$sha256  ${tarball[0]}" | sha256sum --check --quiet
tar -xzf "${tarball[0]}" -C "$tree" --strip-components=1
for deb in "$work"/golang-*.deb; do
    dpkg-deb -x "$deb" "$work/root"
done
export GOROOT=$work/root/usr/lib/go-$go_version
go=$GOROOT/bin/go

cd "$tree"
# In a GOPATH, as upstream's own scripts have it.
export GOPATH=$work/path GO111MODULE=off GOPROXY=off GOFLAGS= GOCACHE=$work/cache GOTMPDIR=$work CGO_ENABLED=0
# The one file that is not in upstream's tree but generated before every build.
say "generating its OpenAPI definitions"
spec=pkg/generated/openapi
nice "$go" build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
inputs=$(grep -rl --include='*.go' --exclude='*_test.go' '+k8s:openapi-gen=' pkg cmd plugin vendor/k8s.io/*/ |
    grep -v -e ^vendor/k8s.io/code-generator/ -e ^vendor/k8s.io/sample-apiserver/ |
    xargs -n1 dirname | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
PATH=$GOROOT/bin:$PATH nice "$work/openapi-gen" -i "$inputs" -p k8s.io/kubernetes/$spec -O zz_generated.openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations" >"$work/generated" 2>&1 ||
    { cat "$work/generated" >&2; exit 1; }
[ -s $spec/zz_generated.openapi.go ]

all=$("$go" list -deps ./cmd/kube-apiserver | wc -l)
# As the release says them of itself.
flags="-s -w"
for module in component-base client-go/pkg; do
    stamp=k8s.io/kubernetes/vendor/k8s.io/$module/version
    flags+=" -X $stamp.gitVersion=v$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=20"
done
# Go prints a line per package; a line per tenth of them is enough here.
nice "$go" build -v -trimpath -o "$work/kube-apiserver" -ldflags "$flags" ./cmd/kube-apiserver 2>&1 |
    awk -v all="$all" -v version="$version" '
        /^[^ ]+$/ { n++; if (n * 10 >= (told + 1) * all) { told = int(n * 10 / all)
            printf "kube-apiserver %s: %d of %d packages compiled\n", version, n, all; fflush() } next }
        { print > "/dev/stderr" }'
mv "$work/kube-apiserver" "$program"
say "is in $dir"
