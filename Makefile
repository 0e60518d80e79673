# Two commands for a newcomer: `make up` and `make test`. Both install what they need.
.PHONY: up test verify bench chaos sim planted rocksdb fix build

up: build
	@deploy/packages.sh run
	@target/release/trireme up $(ARGS)

build: rocksdb
	@cargo build --release --package trireme

rocksdb:
	@deploy/rocksdb.sh

# Formatting and tests; those with real processes use the release binary that is built with them.
test: rocksdb
	@deploy/packages.sh test
	@cargo fmt --all --check
	@cargo test --release --workspace --no-fail-fast

# Everything that must hold before a change lands; writes nothing but build products.
verify: test
	@cargo clippy --release --workspace --all-targets -- -D warnings

fix:
	@cargo fmt --all
	@cargo clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged

# Breaks real processes, networks, disks and clocks for ten minutes, as root, and writes a page about it;
# SEED repeats a run.
chaos: rocksdb
	@deploy/packages.sh test
	@cargo build --release --package trireme --package trireme-chaos
	@target/release/trireme-chaos real --report target/chaos.html $(if $(SEED),--seed $(SEED)) $(ARGS)

# Simulated worlds of raft and store; each is repeated by its seed.
sim: rocksdb
	@cargo build --release --package trireme-chaos
	@target/release/trireme-chaos sim $(or $(ARGS),--seeds 1..21 --minutes 5)

# Bugs that are planted in raft, store, API server and controllers; a simulated world must find each.
planted: rocksdb
	@cargo build --release --workspace --bin trireme-chaos-planted --features trireme-chaos/planted-bugs
	@target/release/trireme-chaos-planted all $(ARGS)

# Ratios against Debian's etcd, measured in one run; figures go to target/bench.json.
bench: rocksdb
	@deploy/packages.sh test
	@cargo build --release --package trireme --package trireme-chaos
	@target/release/trireme-chaos bench $(ARGS)
