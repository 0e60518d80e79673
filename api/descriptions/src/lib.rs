//! What Kubernetes says about its messages and fields: the texts of `kubectl explain` and of Table
//! columns. Taken from `k8s-openapi` when this crate is built (see `build.rs`).
//!
//! **Invariant**: knows no schema; it only answers by name.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.z"));

#[derive(Default)]
struct Message {
    text: &'static str,
    fields: HashMap<&'static str, &'static str>,
}

/// Unpacked when first asked for, and kept: about a megabyte.
fn messages() -> &'static HashMap<&'static str, Message> {
    static MESSAGES: OnceLock<HashMap<&'static str, Message>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(PACKED)
            .read_to_string(&mut text)
            .expect("packed by our own build script");
        let text: &'static str = text.leak();
        let mut out: HashMap<&'static str, Message> = HashMap::new();
        let mut open = "";
        for line in text.lines() {
            let Some((name, description)) = line.split_once('\t') else { continue };
            let description = unescape(description);
            if let Some(message) = name.strip_prefix('=') {
                open = message;
                out.entry(message).or_default().text = description;
            } else {
                out.entry(open).or_default().fields.insert(name, description);
            }
        }
        out
    })
}

fn unescape(text: &'static str) -> &'static str {
    if !text.contains('\\') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(if chars.next() == Some('n') { '\n' } else { '\\' }),
            c => out.push(c),
        }
    }
    out.leak()
}

/// The description of a message, by the name the schema table gives it: `core/v1.Pod`.
pub fn message(name: &str) -> Option<&'static str> {
    messages().get(name).map(|m| m.text).filter(|t| !t.is_empty())
}

/// The description of a message's field.
pub fn field(message: &str, field: &str) -> Option<&'static str> {
    messages().get(message)?.fields.get(field).copied().filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_fields_are_described() {
        assert!(message("core/v1.Pod").unwrap().starts_with("Pod is"));
        assert!(field("meta/v1.ObjectMeta", "creationTimestamp").unwrap().contains("\n\n"));
        assert!(field("apps/v1.DeploymentSpec", "replicas").is_some());
        assert_eq!(field("core/v1.Pod", "nope"), None);
        assert_eq!(message("nope/v1.Nope"), None);
    }
}
