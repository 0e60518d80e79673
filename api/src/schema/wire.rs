//! The order of fields in protobuf. Go embeds some structs inline in JSON that are messages of
//! their own on the wire; the tree holds their fields flat, so the wire keeps its own outline.

use super::Field;

/// One field number of a message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Number and index into `Message::fields`.
    Field(u32, usize),
    /// Number of an embedded message, and what is inside.
    Nested(u32, Vec<Wire>),
}

impl Wire {
    pub fn number(&self) -> u32 {
        match self {
            Wire::Field(n, _) | Wire::Nested(n, _) => *n,
        }
    }
}

/// The outline of a message: sorted by number on each level, as upstream writes it.
pub(super) fn order(fields: &[Field]) -> Vec<Wire> {
    let mut out = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        insert(&mut out, &field.proto, i);
    }
    sort(&mut out);
    out
}

fn insert(level: &mut Vec<Wire>, path: &[u32], field: usize) {
    match path {
        [] => {}
        [number] => level.push(Wire::Field(*number, field)),
        [number, rest @ ..] => {
            let at = level.iter().position(|w| matches!(w, Wire::Nested(n, _) if n == number));
            let at = at.unwrap_or_else(|| {
                level.push(Wire::Nested(*number, Vec::new()));
                level.len() - 1
            });
            if let Wire::Nested(_, inner) = &mut level[at] {
                insert(inner, rest, field);
            }
        }
    }
}

fn sort(level: &mut [Wire]) {
    level.sort_by_key(Wire::number);
    for wire in level {
        if let Wire::Nested(_, inner) = wire {
            sort(inner);
        }
    }
}
