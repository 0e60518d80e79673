//! What differs between two versions of an object, by field.

use trireme_api::Value;

/// Written by the server with every change; they say nothing of what was changed.
const BOOKKEEPING: &[&str] = &["managedFields", "resourceVersion", "generation", "uid", "selfLink"];
/// Fields named in a line about a change.
const SHOWN_MAX: usize = 3;
/// Characters of a value in such a line.
const VALUE_CHARS_MAX: usize = 40;

/// One field that differs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// `spec.template.spec.containers[web].image`
    pub path: String,
    /// `None`: it was not there.
    pub from: Option<Value>,
    /// `None`: it is not there any more.
    pub to: Option<Value>,
}

impl Change {
    /// `spec.replicas 3 → 5`
    pub(super) fn line(&self) -> String {
        let path = &self.path;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => match (brief(from), brief(to)) {
                (Some(from), Some(to)) => format!("{path} {from} → {to}"),
                _ => format!("{path} changed"),
            },
            (None, Some(to)) => {
                brief(to).map_or_else(|| format!("{path} added"), |to| format!("{path} {to} added"))
            }
            (Some(from), None) => {
                brief(from).map_or_else(|| format!("{path} removed"), |from| format!("{path} {from} removed"))
            }
            (None, None) => path.clone(),
        }
    }

    pub(super) fn is_status(&self) -> bool {
        self.path == "status" || self.path.starts_with("status.")
    }
}

/// The fields that differ, in the order of the objects' own; without the server's bookkeeping.
pub(super) fn between(from: &Value, to: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(from), Some(to), &mut found);
    found
}

/// A line about what changed: fields, or that it was the status alone.
pub(super) fn summary(changes: &[Change]) -> String {
    let own: Vec<&Change> = changes.iter().filter(|change| !change.is_status()).collect();
    match (own.len(), changes.len()) {
        (0, 0) => "written without a change".to_owned(),
        (0, _) => "status only".to_owned(),
        (count, _) => {
            let mut line =
                own.iter().take(SHOWN_MAX).map(|change| change.line()).collect::<Vec<_>>().join(", ");
            if count > SHOWN_MAX {
                line += &format!(", and {} more", count - SHOWN_MAX);
            }
            line
        }
    }
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Change>) {
    match (from, to) {
        (Some(from), Some(to)) if from == to => {}
        (Some(Value::Object(_)), Some(Value::Object(_))) => {
            let (old, new) = (from.map_or(&[][..], Value::members), to.map_or(&[][..], Value::members));
            let added = new.iter().filter(|(key, _)| !old.iter().any(|(other, _)| other == key));
            for (key, _) in old.iter().chain(added) {
                if path == "metadata" && BOOKKEEPING.contains(&&**key) {
                    continue;
                }
                let get = |value: Option<&'_ Value>| value.and_then(|value| value.get(key)).cloned();
                compare(&member(path, key), get(from).as_ref(), get(to).as_ref(), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if named(old) && named(new) => {
            let find = |list: &[Value], name: &str| list.iter().find(|item| item["name"] == *name).cloned();
            let added = new.iter().filter(|item| find(old, item["name"].str_or_empty()).is_none());
            let before = found.len();
            for item in old.iter().chain(added) {
                let name = item["name"].str_or_empty();
                let path = format!("{path}[{name}]");
                compare(&path, find(old, name).as_ref(), find(new, name).as_ref(), found);
            }
            if found.len() == before {
                found.push(Change { path: format!("{path} (order)"), from: None, to: None });
            }
        }
        (None, None) => {}
        _ => found.push(Change { path: path.to_owned(), from: from.cloned(), to: to.cloned() }),
    }
}

/// A list whose items are told apart by their names.
fn named(list: &[Value]) -> bool {
    let names: Vec<&str> = list.iter().map(|item| item["name"].str_or_empty()).collect();
    names.iter().enumerate().all(|(i, name)| !name.is_empty() && !names[..i].contains(name))
}

fn member(path: &str, key: &str) -> String {
    match (path.is_empty(), key.contains(['.', '/'])) {
        (true, _) => key.to_owned(),
        (false, false) => format!("{path}.{key}"),
        (false, true) => format!("{path}[{key}]"),
    }
}

/// A value that fits into a line.
fn brief(value: &Value) -> Option<String> {
    let text = match value {
        Value::Object(_) | Value::Array(_) => return None,
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) if text.contains('\n') => return None,
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    };
    if text.chars().count() <= VALUE_CHARS_MAX {
        return Some(text);
    }
    Some(text.chars().take(VALUE_CHARS_MAX - 1).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn check(from: Value, to: Value, want: &str) {
        assert_eq!(summary(&between(&from, &to)), want);
    }

    #[test]
    fn a_line_says_what_changed() {
        check(value!({"spec": {"replicas": 3}}), value!({"spec": {"replicas": 5}}), "spec.replicas 3 → 5");
        check(value!({"status": {"ready": 1}}), value!({"status": {"ready": 2}}), "status only");
        check(
            value!({"spec": {"a": 1}, "status": {"ready": 1}}),
            value!({"spec": {"a": 2}, "status": {"ready": 2}}),
            "spec.a 1 → 2",
        );
        check(
            value!({"metadata": {"resourceVersion": "1", "managedFields": [1]}}),
            value!({"metadata": {"resourceVersion": "2", "managedFields": [2]}}),
            "written without a change",
        );
        check(
            value!({"metadata": {"annotations": {"a.b/c": "x"}}}),
            value!({"metadata": {"annotations": {}, "labels": {"d": "y"}}}),
            "metadata.annotations[a.b/c] x removed, metadata.labels added",
        );
        check(
            value!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}),
            value!({"a": 2, "b": 2, "c": 2, "d": 2, "e": 2}),
            "a 1 → 2, b 1 → 2, c 1 → 2, and 2 more",
        );
        let long = "x".repeat(100);
        check(value!({"a": "1"}), value!({"a": long}), &format!("a 1 → {}…", "x".repeat(39)));
    }

    #[test]
    fn items_of_lists_are_found_by_name() {
        let containers = |list: &[(&str, &str)]| {
            let list: Vec<Value> =
                list.iter().map(|(name, image)| value!({"name": name, "image": image})).collect();
            let mut object = value!({});
            object.make(&["spec"]).set("containers", list);
            object
        };
        check(
            containers(&[("a", "1"), ("web", "1")]),
            containers(&[("web", "2"), ("a", "1")]),
            "spec.containers[web].image 1 → 2",
        );
        check(containers(&[("a", "1")]), containers(&[("a", "1"), ("b", "1")]), "spec.containers[b] added");
        check(
            containers(&[("a", "1"), ("b", "1")]),
            containers(&[("b", "1"), ("a", "1")]),
            "spec.containers (order)",
        );
        check(value!({"l": [1, 2]}), value!({"l": [2]}), "l changed");
    }
}
