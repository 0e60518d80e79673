//! A unified diff of two objects as upstream shows it in errors: JSON of its internal types,
//! indented by one space, with three lines around each change.

use crate::tree::Value;
use crate::types::internal;

const CONTEXT: usize = 3;
/// Past this many lines the middle is shown as replaced whole: the table below grows with the
/// product of both sides.
const LINES_MAX: usize = 4000;

/// The diff of `old` and `new`, both of the message `name`.
pub fn between(name: &str, old: &Value, new: &Value) -> String {
    unified(&lines(&internal::shown(name, old)), &lines(&internal::shown(name, new)))
}

fn lines(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    write(value, 0, String::new(), "", &mut out);
    out
}

fn write(value: &Value, depth: usize, head: String, tail: &str, out: &mut Vec<String>) {
    let indent = " ".repeat(depth);
    match value {
        Value::Array(list) if !list.is_empty() => {
            out.push(format!("{indent}{head}["));
            for (i, v) in list.iter().enumerate() {
                write(v, depth + 1, String::new(), if i + 1 < list.len() { "," } else { "" }, out);
            }
            out.push(format!("{indent}]{tail}"));
        }
        Value::Object(map) if !map.is_empty() => {
            out.push(format!("{indent}{head}{{"));
            for (i, (k, v)) in map.iter().enumerate() {
                let head = format!("{}: ", Value::from(&**k));
                write(v, depth + 1, head, if i + 1 < map.len() { "," } else { "" }, out);
            }
            out.push(format!("{indent}}}{tail}"));
        }
        other => out.push(format!("{indent}{head}{other}{tail}")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Delete,
    Insert,
}

/// The shortest edits: a table of longest common subsequences between what is not alike at the
/// ends.
fn edits(old: &[String], new: &[String]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut out = vec![Edit::Keep; head];
    if a.len() > LINES_MAX || b.len() > LINES_MAX {
        out.extend(std::iter::repeat_n(Edit::Delete, a.len()));
        out.extend(std::iter::repeat_n(Edit::Insert, b.len()));
    } else {
        let width = b.len() + 1;
        let mut common = vec![0u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = if a[i] == b[j] {
                    common[(i + 1) * width + j + 1] + 1
                } else {
                    common[(i + 1) * width + j].max(common[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                out.push(Edit::Keep);
                (i, j) = (i + 1, j + 1);
            } else if i < a.len()
                && (j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
            {
                out.push(Edit::Delete);
                i += 1;
            } else {
                out.push(Edit::Insert);
                j += 1;
            }
        }
    }
    out.extend(std::iter::repeat_n(Edit::Keep, tail));
    out
}

fn unified(old: &[String], new: &[String]) -> String {
    let edits = edits(old, new);
    let changed: Vec<usize> = (0..edits.len()).filter(|i| edits[*i] != Edit::Keep).collect();
    let mut out = String::new();
    let mut next = 0;
    while next < changed.len() {
        let start = changed[next].saturating_sub(CONTEXT);
        let mut last = changed[next];
        while next < changed.len() && changed[next] <= last + 2 * CONTEXT + 1 {
            last = changed[next];
            next += 1;
        }
        let end = (last + CONTEXT + 1).min(edits.len());
        let before = |edit: Edit| edits[..start].iter().filter(|e| **e != edit).count();
        let (mut i, mut j) = (before(Edit::Insert), before(Edit::Delete));
        let length = |edit: Edit| edits[start..end].iter().filter(|e| **e != edit).count();
        out.push_str(&format!(
            "@@ -{},{} +{},{} @@\n",
            i + 1,
            length(Edit::Insert),
            j + 1,
            length(Edit::Delete)
        ));
        for edit in &edits[start..end] {
            let (mark, line) = match edit {
                Edit::Keep => (' ', &old[i]),
                Edit::Delete => ('-', &old[i]),
                Edit::Insert => ('+', &new[j]),
            };
            i += usize::from(*edit != Edit::Insert);
            j += usize::from(*edit != Edit::Delete);
            out.push(mark);
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn one_changed_line_is_shown_with_its_surroundings() {
        let claim =
            |mode: &str| value!({"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}});
        let diff =
            between("core/v1.PersistentVolumeClaimSpec", &claim("ReadWriteOnce"), &claim("ReadWriteMany"));
        assert_eq!(
            diff,
            "@@ -1,6 +1,6 @@\n {\n  \"AccessModes\": [\n-  \"ReadWriteOnce\"\n+  \"ReadWriteMany\"\n  ],\n  \"Selector\": null,\n  \"Resources\": {\n"
        );
    }
}
