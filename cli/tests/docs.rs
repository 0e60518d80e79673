//! The paths that the documents name exist.

use std::path::Path;

const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/architecture.md",
    "docs/operations.md",
    "docs/etcd.md",
    "docs/history.md",
    "docs/bugs.md",
];
/// Folders whose files a document may mean with a path in backticks.
const ROOTS: &[&str] = &[
    "store/",
    "raft/",
    "api/",
    "apiserver/",
    "controllers/",
    "node/",
    "cli/",
    "chaos-tests/",
    "deploy/",
    "docs/",
    "xtask/",
    ".ci/",
];

#[test]
fn paths_named_in_documents_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root.join(document)).unwrap_or_else(|e| panic!("{document}: {e}"));
        // Every second part lies between backticks.
        for path in text.split('`').skip(1).step_by(2) {
            let is_path =
                ROOTS.iter().any(|root| path.starts_with(root)) && !path.contains([' ', '*', '<', '\n']);
            if is_path && !root.join(path).exists() {
                missing.push(format!("{document} names {path}"));
            }
        }
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let folder = Path::new(document).parent().unwrap_or(Path::new(""));
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !link.contains("://") && !root.join(folder).join(file).exists() {
                missing.push(format!("{document} links to {link}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
