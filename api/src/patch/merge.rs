//! Merge patch (RFC 7396), as upstream's library does it.

use super::members::Members;
use super::{PatchError, bad_request};
use crate::tree::{Map, Value};

/// Merges `patch` into `target`: members of objects one by one, null removes, everything else
/// replaces. Unlike the standard, a patch of `null` is refused, and so is one that is no object.
pub fn merge_patch(target: Value, patch: Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(patch) => match target {
            Value::Object(map) => Ok(Value::Object(merge_maps(map, patch))),
            _ => {
                let mut value = Value::Object(patch);
                drop_nulls(&mut value);
                Ok(value)
            }
        },
        Value::Null => bad_request("Invalid JSON Patch"),
        other => bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.kind_name()
        )),
    }
}

fn merge_maps(target: Map, patch: Map) -> Map {
    let mut target = Members::of(target);
    for (key, mut value) in patch {
        match (target.get_mut(&key), value) {
            (_, Value::Null) => target.remove(&key),
            (Some(Value::Object(old)), Value::Object(new)) => *old = merge_maps(std::mem::take(old), new),
            (None, new) => {
                value = new;
                drop_nulls(&mut value);
                target.push(key, value);
            }
            // What replaces an object keeps its inner nulls; what replaces anything else loses
            // them: the library prunes only on the second way.
            (Some(old @ Value::Object(_)), new) => *old = new,
            (Some(old), new) => {
                *old = new;
                drop_nulls(old);
            }
        }
    }
    target.into_map()
}

/// Removes null members at any depth; nulls that are list elements stay.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn merges_as_the_standard_says() {
        for (target, patch, expected) in [
            (value!({"a": "b"}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": "b"}), value!({"b": "c"}), value!({"a": "b", "b": "c"})),
            (value!({"a": "b", "b": "c"}), value!({"a": null}), value!({"b": "c"})),
            (value!({"a": ["b"]}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": {"b": "c"}}), value!({"a": {"b": "d", "c": null}}), value!({"a": {"b": "d"}})),
            (value!({"a": [{"b": "c"}]}), value!({"a": [1]}), value!({"a": [1]})),
            (value!({"e": null}), value!({"a": 1}), value!({"e": null, "a": 1})),
            (value!({}), value!({"a": {"bb": {"ccc": null}}}), value!({"a": {"bb": {}}})),
            (value!({"a": 1}), value!({"a": [{"x": null}, null]}), value!({"a": [{}, null]})),
        ] {
            assert_eq!(merge_patch(target, patch).unwrap(), expected);
        }
    }

    #[test]
    fn refuses_what_is_no_object() {
        let error = |patch| merge_patch(Value::object(), patch).unwrap_err();
        assert_eq!(error(Value::Null), PatchError::BadRequest("Invalid JSON Patch".into()));
        assert!(error(value!([1])).to_string().contains("cannot unmarshal array into Go value"));
    }
}
