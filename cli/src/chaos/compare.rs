//! Two clusters, each at one revision, object by object.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use trireme_api::Object;
use trireme_client::{Client, Discovery};

use super::board::within;

/// Of a list that is read whole.
const PAGE: usize = 500;
/// Differences that are told; the rest is not looked for.
const DIFFERENCES_MAX: usize = 200;

pub(super) struct Difference {
    pub objects: usize,
    pub differences: Vec<String>,
    /// Kinds that could not be compared, and why.
    pub left_out: Vec<(String, String)>,
}

/// By namespace and name, the hash of all but the resource version.
type Objects = BTreeMap<String, [u8; 32]>;

/// Compares what the first had at its revision with what the second had at its own.
pub(super) async fn compare(one: (Client, i64), other: (Client, i64)) -> Result<Difference> {
    let discovery = Discovery::load(&one.0).await.context("ask what the cluster serves")?;
    let mut found = Difference { objects: 0, differences: Vec::new(), left_out: Vec::new() };
    for (group, error) in discovery.failed {
        found.differences.push(format!("{group}: not compared: {error}"));
    }
    for served in discovery.resources.iter().filter(|served| served.can("list")) {
        let path = served.resource.collection(None);
        let (here, there) = tokio::join!(objects(&one.0, &path, one.1), objects(&other.0, &path, other.1));
        match (here, there) {
            (Ok(here), Ok(there)) => {
                found.objects += there.len();
                differences(&served.resource.to_string(), &here, &there, &mut found.differences);
            }
            // What is not stored has no past: the server makes it up when it is asked.
            (Err(error), _) if matches!(error.status(), 404 | 405) => {
                found.left_out.push((served.resource.to_string(), error.to_string()));
            }
            (Err(error), _) => {
                return Err(error).with_context(|| format!("{} at revision {}", served.resource, one.1));
            }
            (_, Err(error)) => found.differences.push(format!("{}: not there: {error}", served.resource)),
        }
        if found.differences.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    if found.objects == 0 {
        found.differences.push("there was nothing to compare".to_owned());
    }
    Ok(found)
}

async fn objects(client: &Client, path: &str, revision: i64) -> Result<Objects, trireme_client::Error> {
    let mut objects = Objects::new();
    let mut query = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
    loop {
        let page = within(client.transport().list(&format!("{path}?limit={PAGE}&{query}"))).await?;
        for object in &page.items {
            objects.insert(format!("{}/{}", object.namespace(), object.name()), hash(object));
        }
        if page.continue_token.is_empty() {
            return Ok(objects);
        }
        query = "continue=".to_owned();
        for byte in page.continue_token.bytes() {
            let _ = write!(query, "%{byte:02X}");
        }
    }
}

fn hash(object: &Object) -> [u8; 32] {
    let mut object = object.clone();
    // Every restored object has another.
    object.metadata_mut().remove("resourceVersion");
    Sha256::digest(serde_json::to_vec(&object.0).unwrap_or_default()).into()
}

fn differences(kind: &str, here: &Objects, there: &Objects, found: &mut Vec<String>) {
    let tell = |name: &str, what: &str| format!("{kind} {} {what}", name.trim_start_matches('/'));
    for (name, hash) in here {
        match there.get(name) {
            None => found.push(tell(name, "was not restored")),
            Some(other) if other != hash => found.push(tell(name, "is another one than it was")),
            Some(_) => {}
        }
    }
    for name in there.keys().filter(|name| !here.contains_key(*name)) {
        found.push(tell(name, "was not there"));
    }
}

#[cfg(test)]
mod tests {
    use trireme_api::value;

    use super::*;

    #[test]
    fn what_differs_is_named() {
        let object = |version: &str, data: &str| {
            Object(value!({
                "metadata": {"name": "a", "resourceVersion": version.to_owned()},
                "data": {"k": data.to_owned()},
            }))
        };
        assert_eq!(hash(&object("1", "x")), hash(&object("2", "x")));
        assert_ne!(hash(&object("1", "x")), hash(&object("1", "y")));
        let objects = |names: &[(&str, u8)]| -> Objects {
            names.iter().map(|(name, byte)| ((*name).to_owned(), [*byte; 32])).collect()
        };
        let mut found = Vec::new();
        let here = objects(&[("n/a", 1), ("n/b", 1), ("/c", 1)]);
        differences("pods", &here, &here, &mut found);
        assert_eq!(found, Vec::<String>::new());
        differences("pods", &here, &objects(&[("n/a", 1), ("n/b", 2), ("n/d", 1)]), &mut found);
        assert_eq!(
            found,
            ["pods c was not restored", "pods n/b is another one than it was", "pods n/d was not there"]
        );
    }
}
