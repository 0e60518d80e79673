//! Objects as YAML, and two of them side by side as `diff -u` shows files. What Secrets hold is
//! not shown, only whether it is the same.

use trireme_api::Value;
use trireme_apiserver::encode_yaml;

/// Lines around a change.
const CONTEXT_LINES: usize = 3;
/// Pairs of lines compared at most; past it all lines between the first and the last change are
/// shown as changed.
const PAIRS_MAX: usize = 4_000_000;
/// Annotation that holds a whole object, values and all.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Hides what a Secret holds in two versions of it; values that differ differ still.
pub(super) fn hide_secrets(versions: [Option<&mut Value>; 2]) {
    let [mut from, mut to] = versions;
    let hold = |value: &Option<&mut Value>, path: &[&str]| value.as_ref().and_then(|v| v.at(path)).cloned();
    let is_secret = |value: &Option<&mut Value>| value.as_ref().is_some_and(|v| v["kind"] == *"Secret");
    if !is_secret(&from) && !is_secret(&to) {
        return;
    }
    for (parent, only) in
        [(&["data"][..], None), (&["stringData"], None), (&["metadata", "annotations"], Some(LAST_APPLIED))]
    {
        let (old, new) = (hold(&from, parent), hold(&to, parent));
        let differs = |key: &str| {
            let (old, new) = (old.as_ref().and_then(|v| v.get(key)), new.as_ref().and_then(|v| v.get(key)));
            old.is_some() && new.is_some() && old != new
        };
        for (version, differing) in [(&mut from, "(hidden, before)"), (&mut to, "(hidden, after)")] {
            let Some(map) = version.as_mut().and_then(|v| v.at_mut(parent)).and_then(Value::as_object_mut)
            else {
                continue;
            };
            for (key, value) in map.iter_mut().filter(|(key, _)| only.is_none_or(|only| &***key == only)) {
                *value = if differs(key) { differing } else { "(hidden)" }.into();
            }
        }
    }
}

/// The object as YAML, without the record of who owns which field.
pub(super) fn yaml(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    String::from_utf8_lossy(&encode_yaml(&object)).into_owned()
}

/// What differs, line by line; empty when nothing does. `None` is a file that does not exist.
pub(super) fn diff(names: (&str, &str), from: Option<&Value>, to: Option<&Value>) -> String {
    let (old, new) = (from.map(yaml).unwrap_or_default(), to.map(yaml).unwrap_or_default());
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let script = script(&old, &new);
    if script.iter().all(|line| line.sign == ' ') {
        return String::new();
    }
    let mut out = format!("--- {}\n+++ {}\n", names.0, names.1);
    let mut at = 0;
    while let Some(first) = (at..script.len()).find(|i| script[*i].sign != ' ') {
        let start = first.saturating_sub(CONTEXT_LINES).max(at);
        let mut last = first;
        for (i, line) in script.iter().enumerate().skip(first + 1) {
            match line.sign {
                ' ' if i > last + 2 * CONTEXT_LINES => break,
                ' ' => {}
                _ => last = i,
            }
        }
        let end = (last + 1 + CONTEXT_LINES).min(script.len());
        let hunk = &script[start..end];
        let count = |but: char| hunk.iter().filter(|line| line.sign != but).count();
        let lines = |first: usize, count: usize| if count == 0 { (0, 0) } else { (first + 1, count) };
        let (old_at, old_count) = lines(script[start].old, count('+'));
        let (new_at, new_count) = lines(script[start].new, count('-'));
        out += &format!("@@ -{old_at},{old_count} +{new_at},{new_count} @@\n");
        for line in hunk {
            out.push(line.sign);
            out += line.text;
            out.push('\n');
        }
        at = end;
    }
    out
}

struct Line<'a> {
    /// ' ', '-' or '+'.
    sign: char,
    text: &'a str,
    /// Lines before it in each.
    old: usize,
    new: usize,
}

/// The shortest way from the one to the other.
fn script<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_mid, new_mid) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut signs: Vec<char> = vec![' '; head];
    signs.extend(middle(old_mid, new_mid));
    signs.extend(vec![' '; tail]);
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(signs.len());
    for sign in signs {
        let text = if sign == '+' { new[j] } else { old[i] };
        out.push(Line { sign, text, old: i, new: j });
        i += usize::from(sign != '+');
        j += usize::from(sign != '-');
    }
    out
}

/// Signs of the lines, by the longest common subsequence.
fn middle(old: &[&str], new: &[&str]) -> Vec<char> {
    let (rows, columns) = (old.len(), new.len());
    if rows.saturating_mul(columns) > PAIRS_MAX {
        return [vec!['-'; rows], vec!['+'; columns]].concat();
    }
    let width = columns + 1;
    let mut common = vec![0_u32; (rows + 1) * width];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut signs) = (0, 0, Vec::new());
    while i < rows || j < columns {
        if i < rows && j < columns && old[i] == new[j] {
            signs.push(' ');
            (i, j) = (i + 1, j + 1);
        } else if j == columns || i < rows && common[(i + 1) * width + j] >= common[i * width + j + 1] {
            signs.push('-');
            i += 1;
        } else {
            signs.push('+');
            j += 1;
        }
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    #[test]
    fn what_differs_is_shown_with_what_is_around_it() {
        let from = value!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1});
        let to = value!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 2, "f": 1, "g": 1, "h": 1});
        assert_eq!(
            diff(("x", "y"), Some(&from), Some(&to)),
            "--- x\n+++ y\n@@ -2,6 +2,7 @@\n b: 1\n c: 1\n d: 1\n-e: 1\n+e: 2\n f: 1\n g: 1\n+h: 1\n"
        );
        assert_eq!(diff(("x", "y"), Some(&from), Some(&from)), "");
        assert_eq!(diff(("x", "y"), None, Some(&value!({"a": 1}))), "--- x\n+++ y\n@@ -0,0 +1,1 @@\n+a: 1\n");
        let managed = value!({"metadata": {"managedFields": [1]}});
        assert_eq!(diff(("x", "y"), Some(&managed), Some(&value!({"metadata": {}}))), "");
    }

    #[test]
    fn changes_far_apart_are_hunks_of_their_own() {
        let lines = |changed: &[usize]| {
            let list: Vec<usize> = (0..40).map(|i| if changed.contains(&i) { 1000 + i } else { i }).collect();
            value!({"l": list})
        };
        let shown = diff(("x", "y"), Some(&lines(&[])), Some(&lines(&[5, 30])));
        assert_eq!(shown.matches("@@ -").count(), 2, "{shown}");
        assert!(shown.contains("@@ -4,7 +4,7 @@") && shown.contains("@@ -29,7 +29,7 @@"), "{shown}");
    }

    #[test]
    fn what_secrets_hold_is_not_shown() {
        let secret = |a: &str| {
            value!({
                "kind": "Secret",
                "metadata": {"annotations": {LAST_APPLIED: a, "other": "seen"}},
                "data": {"a": a, "b": "c2FtZQ=="},
            })
        };
        let (mut from, mut to) = (secret("b2xk"), secret("bmV3"));
        hide_secrets([Some(&mut from), Some(&mut to)]);
        let shown = diff(("x", "y"), Some(&from), Some(&to));
        for hidden in ["b2xk", "bmV3", "c2FtZQ"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
        assert!(shown.contains("-  a: (hidden, before)\n+  a: (hidden, after)\n   b: (hidden)"), "{shown}");
        assert!(shown.contains("other: seen"), "{shown}");
        let mut alone = secret("b2xk");
        hide_secrets([None, Some(&mut alone)]);
        assert_eq!(alone["data"]["a"], *"(hidden)");
        let mut map = value!({"kind": "ConfigMap", "data": {"a": "b2xk"}});
        hide_secrets([Some(&mut map), None]);
        assert_eq!(map["data"]["a"], *"b2xk");
    }
}
