//! Which crate of the workspace may know which: a new edge is a change of its own, here, with its
//! reason.

use std::collections::BTreeSet;
use std::process::Command;

/// `from` depends on `to` in what it ships.
const EDGES: &[(&str, &str)] = &[
    // The etcd face gives snapshots in etcd's own form.
    ("trireme-raft", "trireme-bolt"),
    ("trireme-raft", "trireme-store"),
    // Restoring applies the log as a replica does.
    ("trireme-backup", "trireme-store"),
    ("trireme-client", "trireme-api"),
    ("trireme-apiserver", "trireme-api"),
    // The way of components in its own process is a transport like any other.
    ("trireme-apiserver", "trireme-client"),
    // What `kubectl explain` and Table columns say: compiled for it alone.
    ("trireme-apiserver", "trireme-descriptions"),
    ("trireme-apiserver", "trireme-store"),
    ("trireme-controllers", "trireme-api"),
    ("trireme-controllers", "trireme-client"),
    ("trireme-node", "trireme-api"),
    ("trireme-node", "trireme-client"),
    ("trireme", "trireme-api"),
    ("trireme", "trireme-apiserver"),
    ("trireme", "trireme-backup"),
    // Importing reads etcd's files.
    ("trireme", "trireme-bolt"),
    // The page of `trireme chaos`: the shipped binary has nothing else of the chaos tests.
    ("trireme", "trireme-chaos-report"),
    ("trireme", "trireme-client"),
    ("trireme", "trireme-controllers"),
    ("trireme", "trireme-node"),
    ("trireme", "trireme-raft"),
    ("trireme", "trireme-store"),
    ("trireme-chaos", "trireme-api"),
    // A simulated world has a whole control plane in it.
    ("trireme-chaos", "trireme-apiserver"),
    ("trireme-chaos", "trireme-chaos-report"),
    ("trireme-chaos", "trireme-client"),
    ("trireme-chaos", "trireme-controllers"),
    ("trireme-chaos", "trireme-node"),
    ("trireme-chaos", "trireme-raft"),
    ("trireme-chaos", "trireme-store"),
];

/// Edges of tests alone.
const TEST_EDGES: &[(&str, &str)] = &[
    // Its suite runs over the store's RocksDB engine.
    ("trireme-raft", "trireme-store"),
    // Our own API server is not mocked: it runs within the tests of its clients.
    ("trireme-client", "trireme-apiserver"),
    ("trireme-client", "trireme-store"),
    ("trireme-controllers", "trireme-apiserver"),
    ("trireme-controllers", "trireme-node"),
    ("trireme-controllers", "trireme-store"),
];

/// Edges of optional features, none of which is shipped.
const FEATURE_EDGES: &[(&str, &str)] = &[
    // Which bug is planted is kept beside the store, for all crates.
    ("trireme-controllers", "trireme-store"),
];

#[test]
fn crates_depend_only_where_the_design_says() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let (mut edges, mut test_edges, mut feature_edges) = Default::default();
    for package in packages {
        let from = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if names.contains(to) {
                let set: &mut BTreeSet<_> = if dependency["kind"] == "dev" {
                    &mut test_edges
                } else if dependency["optional"] == true {
                    &mut feature_edges
                } else {
                    &mut edges
                };
                set.insert((from, to));
            }
        }
        let shipped = package["features"]["default"].as_array();
        assert!(shipped.is_none_or(Vec::is_empty), "{from} has features that are on by themselves");
    }
    assert_eq!(edges, EDGES.iter().copied().collect(), "edges between crates changed");
    assert_eq!(feature_edges, FEATURE_EDGES.iter().copied().collect(), "edges of features changed");
    assert_eq!(test_edges, TEST_EDGES.iter().copied().collect(), "edges of tests changed");
}
