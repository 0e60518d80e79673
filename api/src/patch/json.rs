//! JSON patch (RFC 6902), as upstream's library does it: `replace` of a missing member adds it,
//! negative indexes count from the end, the text before a path's first slash is ignored, and
//! unknown operations fail only when they are reached.

use super::{PatchError, bad_request};
use crate::tree::{Map, Value};

/// More operations than this in one patch are refused with 413.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// Bytes of JSON that the `copy` operations of one patch may add.
pub const JSON_PATCH_COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies the operations of `patch` in order to `target`.
///
/// `BadRequest` if the patch is not a list of operations, `Unprocessable` if one does not apply.
pub fn json_patch(mut target: Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        if patch.is_null() {
            return Ok(target);
        }
        return bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            patch.kind_name()
        ));
    };
    operations.iter().try_for_each(check_types)?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut copied_bytes = 0;
    for operation in operations {
        apply(&mut target, operation, &mut copied_bytes).map_err(PatchError::Unprocessable)?;
    }
    Ok(target)
}

/// The types of an operation's own members.
fn check_types(operation: &Value) -> Result<(), PatchError> {
    match operation {
        Value::Null => return Ok(()),
        Value::Object(_) => {}
        other => {
            return bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
                other.kind_name()
            ));
        }
    }
    for name in ["op", "path", "from"] {
        let member = &operation[name];
        if !member.is_null() && !member.is_string() {
            return bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{name} of type string",
                member.kind_name()
            ));
        }
    }
    Ok(())
}

type Applied<T> = Result<T, String>;

fn apply(target: &mut Value, operation: &Value, copied_bytes: &mut usize) -> Applied<()> {
    let text = |name: &str| operation[name].as_str();
    let path = || text("path").ok_or_else(|| "operation missing path field: missing value".to_owned());
    let from = || text("from").ok_or_else(|| "operation, missing from field: missing value".to_owned());
    let value = || operation["value"].clone();
    match text("op").unwrap_or("unknown") {
        "add" => {
            let path = path()?;
            let (parent, key) = parent(target, path).ok_or_else(|| missing("add", "path", path))?;
            add(parent, &key, value())
        }
        "remove" => {
            let path = path()?;
            let (parent, key) = parent(target, path).ok_or_else(|| missing("remove", "path", path))?;
            remove(parent, &key).map(drop)
        }
        "replace" => {
            let path = path()?;
            let (parent, key) = parent(target, path).ok_or_else(|| missing("replace", "path", path))?;
            replace(parent, &key, value())
        }
        "move" => {
            let from = from()?;
            let (source, key) = parent(target, from).ok_or_else(|| missing("move", "from path", from))?;
            let moved = remove(source, &key)?;
            let path = path()?;
            let (parent, key) =
                parent(target, path).ok_or_else(|| missing("move", "destination path", path))?;
            add(parent, &key, moved)
        }
        "copy" => {
            let from = from()?;
            let (source, key) = parent(target, from).ok_or_else(|| missing("copy", "from path", from))?;
            let copy = get(source, &key)?.cloned().unwrap_or_default();
            *copied_bytes += copy.to_string().len();
            if *copied_bytes > JSON_PATCH_COPY_BYTES_MAX {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, exceeding the limit {JSON_PATCH_COPY_BYTES_MAX}"
                ));
            }
            let path = path()?;
            let (parent, key) =
                parent(target, path).ok_or_else(|| missing("copy", "destination path", path))?;
            add(parent, &key, copy)
        }
        "test" => {
            let path = path()?;
            let (parent, key) = parent(target, path).ok_or_else(|| missing("test", "path", path))?;
            let found = get(parent, &key)?.cloned().unwrap_or_default();
            if found == operation["value"] {
                Ok(())
            } else {
                Err(format!("testing value {path} failed: test failed"))
            }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn missing(operation: &str, what: &str, path: &str) -> String {
    format!("{operation} operation does not apply: doc is missing {what}: \"{path}\": missing value")
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The container that `path` ends in, and the last step. The whole document cannot be meant.
fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (_, path) = path.split_once('/')?;
    let mut steps: Vec<&str> = path.split('/').collect();
    let last = unescape(steps.pop()?);
    let mut at = target;
    for step in steps {
        let step = unescape(step);
        at = match at {
            Value::Object(map) => map.get_mut(&step)?,
            Value::Array(items) => {
                let i = index(&step, items.len()).ok()?;
                items.get_mut(i)?
            }
            _ => return None,
        };
    }
    matches!(at, Value::Object(_) | Value::Array(_)).then_some((at, last))
}

/// An index into `len` places; negative ones count from the end.
fn index(token: &str, len: usize) -> Applied<usize> {
    let i: i64 = token.parse().map_err(|_| format!("strconv.Atoi: parsing {token:?}: invalid syntax"))?;
    let from_start = if i < 0 { i + len as i64 } else { i };
    usize::try_from(from_start)
        .ok()
        .filter(|i| *i < len)
        .ok_or_else(|| format!("Unable to access invalid index: {i}: invalid index referenced"))
}

fn get<'a>(container: &'a Value, key: &str) -> Applied<Option<&'a Value>> {
    match container {
        Value::Array(items) => index(key, items.len()).map(|i| items.get(i)),
        other => Ok(other.get(key)),
    }
}

fn add(container: &mut Value, key: &str, value: Value) -> Applied<()> {
    match container {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let i = index(key, items.len() + 1)?;
            items.insert(i, value);
        }
        other => {
            members(other).insert(key, value);
        }
    }
    Ok(())
}

fn replace(container: &mut Value, key: &str, value: Value) -> Applied<()> {
    match container {
        Value::Array(items) => {
            let i = index(key, items.len())?;
            items[i] = value;
        }
        other => {
            members(other).insert(key, value);
        }
    }
    Ok(())
}

fn remove(container: &mut Value, key: &str) -> Applied<Value> {
    match container {
        Value::Array(items) => {
            let i = index(key, items.len())?;
            Ok(items.remove(i))
        }
        other => members(other)
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
    }
}

fn members(container: &mut Value) -> &mut Map {
    container.as_object_mut().expect("`parent` gives arrays and objects only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn doc() -> Value {
        value!({"data": {"a": "1", "b/c": "2"}, "list": ["x", "y", "z"], "nil": null})
    }

    #[test]
    fn operations_apply() {
        for (patch, path, expected) in [
            (value!([{"op": "add", "path": "/data/n", "value": 1}]), "/data/n", value!(1)),
            (value!([{"op": "replace", "path": "/data/new", "value": 1}]), "/data/new", value!(1)),
            (value!([{"op": "replace", "path": "/data/b~1c", "value": 1}]), "/data/b~1c", value!(1)),
            (value!([{"op": "remove", "path": "/list/-1"}]), "/list", value!(["x", "y"])),
            (value!([{"op": "add", "path": "/list/1", "value": "m"}]), "/list", value!(["x", "m", "y", "z"])),
            (value!([{"op": "add", "path": "/list/3", "value": "m"}]), "/list/3", value!("m")),
            (
                value!([{"op": "add", "path": "/list/-1", "value": "m"}]),
                "/list",
                value!(["x", "y", "z", "m"]),
            ),
            (value!([{"op": "add", "path": "/list/-", "value": "m"}]), "/list/3", value!("m")),
            (value!([{"op": "move", "from": "/data/a", "path": "/moved"}]), "/moved", value!("1")),
            (value!([{"op": "copy", "from": "/list", "path": "/data/l"}]), "/data/l/2", value!("z")),
            (value!([{"op": "add", "path": "data/top", "value": 1}]), "/top", value!(1)),
            (value!([{"op": "test", "path": "/data/none", "value": null}]), "/list/0", value!("x")),
            (value!([{"op": "add", "path": "/data/v"}]), "/data/v", Value::Null),
        ] {
            let result = json_patch(doc(), &patch).unwrap_or_else(|e| panic!("{patch}: {e}"));
            assert_eq!(result.pointer(path), Some(&expected), "{patch}");
        }
        assert_eq!(json_patch(doc(), &value!([])).unwrap(), doc());
    }

    #[test]
    fn what_does_not_apply_is_unprocessable() {
        for patch in [
            value!([{"op": "frob", "path": "/data/a"}]),
            value!([{"path": "/data/a"}]),
            value!([{"op": "remove", "path": "/data/none"}]),
            value!([{"op": "add", "path": "/none/x", "value": 1}]),
            value!([{"op": "add", "path": "/nil/x", "value": 1}]),
            value!([{"op": "remove", "path": "/list/9"}]),
            value!([{"op": "add", "path": "/list/5", "value": 1}]),
            value!([{"op": "replace", "path": "/list/x", "value": 1}]),
            value!([{"op": "replace", "path": "", "value": {}}]),
            value!([{"op": "test", "path": "/data/a", "value": "9"}]),
            value!([{"op": "add", "value": "9"}]),
        ] {
            let error = json_patch(doc(), &patch).unwrap_err();
            assert!(matches!(error, PatchError::Unprocessable(_)), "{patch}: {error}");
        }
    }

    #[test]
    fn malformed_and_oversized_patches_are_refused() {
        let error = json_patch(doc(), &value!({"op": "add"})).unwrap_err();
        assert_eq!(error, PatchError::BadRequest(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp".into()
        ));
        assert!(matches!(json_patch(doc(), &value!([{"op": 1}])), Err(PatchError::BadRequest(_))));
        let test = value!({"op": "test", "path": "/data/a", "value": "1"});
        let many = Value::Array(vec![test; JSON_PATCH_OPERATIONS_MAX + 1]);
        assert!(matches!(json_patch(doc(), &many), Err(PatchError::TooLarge(_))));
    }

    #[test]
    fn copies_do_not_grow_without_bound() {
        let mut patch = vec![value!({"op": "add", "path": "/b", "value": "x".repeat(1000)})];
        for i in 0..40 {
            patch.push(value!({"op": "add", "path": format!("/c{i}"), "value": []}));
            patch.push(value!({"op": "copy", "from": "", "path": "/x"}));
        }
        assert!(json_patch(doc(), &Value::Array(patch)).is_err());
        let doubling: Vec<Value> = std::iter::once(value!({"op": "add", "path": "/w", "value": {"x": "y"}}))
            .chain((0..64).map(|i| value!({"op": "copy", "from": "/w", "path": format!("/w/{i}")})))
            .collect();
        let error = json_patch(doc(), &Value::Array(doubling)).unwrap_err().to_string();
        assert!(error.contains("accumulated size"), "{error}");
    }
}
