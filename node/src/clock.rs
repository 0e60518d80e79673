//! Times as they are written into objects.

use jiff::Timestamp;

/// `metav1.Time`: seconds.
pub(crate) fn rfc3339(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`.
pub(crate) fn rfc3339_micro(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
