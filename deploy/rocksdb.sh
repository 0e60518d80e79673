#!/bin/bash
# Finds or builds RocksDB's static library and links `.rocksdb` to it.
#
#   deploy/rocksdb.sh          make sure that the library exists and that .rocksdb points to it
#   deploy/rocksdb.sh --path   print where the library lies (or would lie) and do nothing
#
# RocksDB is 340 C++ files: more than half an hour of CPU. It is therefore built once per version
# and set of flags into a cache outside `target` ($TRIREME_CACHE, else ~/.cache/trireme), where
# `cargo clean`, other profiles and other checkouts do not touch it.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD

cxxflags=
case "$(uname -m)" in
    # The instructions that make its checksums cheap; every x86-64 server since 2010 has them.
    x86_64) cxxflags="-msse4.2 -mpclmul" ;;
esac
features="lz4,bindgen-runtime"

# `0.19.0+11.8.1`: the crate's version, and RocksDB's own behind the plus.
crate=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p;q}' Cargo.lock)
[ -n "$crate" ] || { echo "Cargo.lock names no librocksdb-sys" >&2; exit 1; }
hash=$(printf '%s|%s|%s|clang|%s' "$crate" "$features" "$(uname -m)" "$cxxflags" | sha256sum | cut -c1-10)
cache=${TRIREME_CACHE:-${HOME:-/root}/.cache/trireme}
dir=$cache/rocksdb-${crate#*+}-$hash
if [ "${1:-}" = --path ]; then
    echo "$dir/librocksdb.a"
    exit 0
fi

link() {
    [ "$(readlink "$repo/.rocksdb" 2>/dev/null)" = "$dir" ] || ln -sfn "$dir" "$repo/.rocksdb"
}

"$repo/deploy/packages.sh" build
if [ -s "$dir/librocksdb.a" ]; then
    link
    exit 0
fi

mkdir -p "$cache"
# One builder at a time: a second checkout waits for the first one's result.
exec 9>"$cache/rocksdb.lock"
if ! flock -n 9; then
    echo "another build of RocksDB is running: waiting for it"
    flock 9
fi
if [ -s "$dir/librocksdb.a" ]; then
    link
    exit 0
fi

work=$cache/rocksdb-build-$hash
mkdir -p "$work/src"
cat >"$work/Cargo.toml" <<TOML
[package]
name = "build-rocksdb"
version = "0.0.0"
edition = "2024"
[lib]
path = "src/lib.rs"
[dependencies]
librocksdb-sys = { version = "=${crate%%+*}", default-features = false, features = ["lz4", "bindgen-runtime", "static"] }
[workspace]
TOML
: >"$work/src/lib.rs"
# The same versions of everything around it; cargo drops the lines that are not needed.
cp "$repo/Cargo.lock" "$work/Cargo.lock"

echo "building RocksDB ${crate#*+} once into $dir (10 to 30 minutes on two cores; later builds reuse it)"
(
    cd "$work"
    unset ROCKSDB_LIB_DIR
    ROCKSDB_COMPILE=1 CC=clang CXX=clang++ CXXFLAGS="$cxxflags" CARGO_TARGET_DIR="$work/target" \
        exec cargo build --release -p librocksdb-sys >"$work/log" 2>&1 9>&-
) &
builder=$!
trap 'kill $builder 2>/dev/null || true' EXIT INT TERM
registry=${CARGO_HOME:-${HOME:-/root}/.cargo}/registry/src
started=$SECONDS
shown=0
while kill -0 $builder 2>/dev/null; do
    # Neither exists at first on a fresh machine, which is no error.
    done_files=$({ find "$work/target/release/build" -path '*librocksdb-sys-*/out/*.o' || true; } 2>/dev/null | wc -l)
    total=$({ cat "$registry"/*/librocksdb-sys-"$crate"/rocksdb_lib_sources.txt || true; } 2>/dev/null | wc -l)
    elapsed=$((SECONDS - started))
    line=$(printf 'RocksDB: %d of %d files, %d:%02d' "$done_files" "$total" $((elapsed / 60)) $((elapsed % 60)))
    if [ -t 1 ]; then
        printf '\r%s ' "$line"
    elif [ $((SECONDS - shown)) -ge 30 ]; then
        echo "$line"
        shown=$SECONDS
    fi
    sleep 1
done
[ -t 1 ] && echo
built=0
wait $builder || built=$?
# Its number may be somebody else's from now on.
trap - EXIT INT TERM
if [ $built -ne 0 ]; then
    tail -30 "$work/log" >&2
    echo "building RocksDB failed; the whole log is $work/log" >&2
    exit 1
fi
built=$(find "$work/target/release/build" -path '*librocksdb-sys-*/out/librocksdb.a' | head -1)
# Whole or not at all: the directory appears by rename.
mkdir -p "$dir.new"
cp "$built" "$dir.new/librocksdb.a"
sync "$dir.new/librocksdb.a"
rm -rf "$dir"
mv "$dir.new" "$dir"
rm -rf "$work"
link
echo "RocksDB is ready in $((SECONDS - started)) s"
