//! Compares the rows with upstream's aggregated discovery, where the reference data is present.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::group_versions;
use crate::tree::Value;

/// The folder of reference data: `$TRIREME_SHARED`, or beside the workspace.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRIREME_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let path = root.join(path);
    path.exists().then_some(path)
}

fn resource(group: &str, version: &str, r: &Value) -> (String, String) {
    let list =
        |v: &Value| v.items().iter().map(|s| s.str_or_empty().to_owned()).collect::<Vec<_>>().join(",");
    let mut line = format!(
        "{} {} {} {} [{}] [{}] [{}]",
        r["responseKind"]["kind"].str_or_empty(),
        r["scope"].str_or_empty(),
        r["singularResource"].str_or_empty(),
        list(&r["verbs"]),
        list(&r["shortNames"]),
        list(&r["categories"]),
        r["responseKind"]["version"].str_or_empty(),
    );
    for s in r["subresources"].items() {
        line += &format!(
            " {}:{}:{}/{}:{}",
            s["subresource"].str_or_empty(),
            s["responseKind"]["kind"].str_or_empty(),
            s["responseKind"]["group"].str_or_empty(),
            s["responseKind"]["version"].str_or_empty(),
            list(&s["verbs"]),
        );
    }
    (format!("{group}/{version}/{}", r["resource"].str_or_empty()), line)
}

#[test]
fn rows_are_what_upstream_lists() {
    let mut expected = BTreeMap::new();
    let mut order = Vec::new();
    for file in ["disc-agg-api.json", "disc-agg-apis.json"] {
        let Some(path) = shared("reference/upstream-1.36").map(|p| p.join(file)) else {
            // Past the capture of what tests that pass print.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("skipped: rows_are_what_upstream_lists: no reference data\n"),
            );
            return;
        };
        let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for group in document["items"].items() {
            let name = group["metadata"]["name"].str_or_empty();
            for version in group["versions"].items() {
                let version_name = version["version"].str_or_empty();
                order.push((name.to_owned(), version_name.to_owned()));
                for r in version["resources"].items() {
                    let (key, line) = resource(name, version_name, r);
                    expected.insert(key, line);
                }
            }
        }
    }
    let mut actual = BTreeMap::new();
    for gv in group_versions() {
        for (kind, served) in &gv.kinds {
            if served.is_legacy() {
                continue;
            }
            let mut line = format!(
                "{} {} {} {} [{}] [{}] []",
                kind.kind,
                if kind.namespaced { "Namespaced" } else { "Cluster" },
                kind.singular,
                kind.verbs.join(","),
                kind.short_names.join(","),
                kind.categories.join(","),
            );
            for s in kind.subresources {
                let (group, version) = s.group_version.unwrap_or_default();
                line += &format!(" {}:{}:{group}/{version}:{}", s.name, s.kind, s.verbs.join(","));
            }
            actual.insert(format!("{}/{}/{}", gv.group, gv.version, kind.plural), line);
        }
    }
    for (key, line) in &expected {
        assert_eq!(actual.get(key), Some(line), "{key}");
    }
    assert_eq!(actual.len(), expected.len());
    let ours: Vec<_> = group_versions()
        .iter()
        .filter(|g| g.kinds.iter().any(|(_, s)| !s.is_legacy()))
        .map(|g| (g.group.to_owned(), g.version.to_owned()))
        .collect();
    assert_eq!(ours, order);
}
