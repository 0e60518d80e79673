//! Strategic merge patch: a merge patch whose lists are merged by a key the schema names, with
//! directives (`$patch`, `$retainKeys`, `$setElementOrder/<list>`,
//! `$deleteFromPrimitiveList/<list>`).

use super::members::Members;
use super::order::{MergeKey, Positions, arrange, as_map, holds_maps, no_merge_key};
use super::{PatchError, bad_request, go_print, internal};
use crate::schema::{MessageId, PatchStrategy, Schema, Type};
use crate::tree::{Key, Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";

const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_SET_ORDER: &str = "invalid patch format of setElementOrder list";

/// Merges `patch` into `target`, a document of the given message.
///
/// `BadRequest` if the patch is no object or a directive has the wrong form, `Internal` where it
/// contradicts itself or the schema (a missing merge key, an order that does not match, an unknown
/// `$patch`), `Unprocessable` for lists of lists.
pub fn strategic_merge(
    schema: &Schema,
    message: MessageId,
    target: Value,
    patch: Value,
) -> Result<Value, PatchError> {
    let patch = match patch {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        other => {
            return bad_request(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                other.kind_name()
            ));
        }
    };
    let target = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Merge { schema }.maps(target, patch, &Type::Message(message)).map(Value::Object)
}

/// What the schema says of one member.
struct Facts<'a> {
    ty: &'a Type,
    patch: PatchStrategy,
    key: MergeKey,
}

struct Merge<'a> {
    schema: &'a Schema,
}

impl Merge<'_> {
    fn facts<'t>(&'t self, ty: &'t Type, name: &str) -> Result<Facts<'t>, PatchError> {
        let unknown = |of: &str| {
            internal(format!("unable to find api field in struct {of} for the json field {name:?}"))
        };
        match ty {
            Type::Message(id) => {
                let message = self.schema.message(*id);
                match message.field(name) {
                    Some(f) => Ok(Facts { ty: &f.ty, patch: f.patch, key: f.patch_merge_key }),
                    None => unknown(message.name.rsplit('.').next().unwrap_or(&message.name)),
                }
            }
            Type::Map(of) => Ok(Facts { ty: of, patch: PatchStrategy::default(), key: None }),
            Type::RawExtension => unknown("RawExtension"),
            Type::FieldsV1 => unknown("FieldsV1"),
            _ => unknown("JSON"),
        }
    }

    fn maps(&self, mut target: Map, mut patch: Map, ty: &Type) -> Result<Map, PatchError> {
        if let Some(directive) = patch.get(PATCH) {
            return match directive.as_str() {
                Some("replace") => {
                    patch.remove(PATCH);
                    Ok(patch)
                }
                Some("delete") => Ok(Map::new()),
                _ => unknown_directive(directive, &Value::Object(patch.clone())),
            };
        }
        retain_keys(&mut target, &mut patch)?;
        self.ordered_lists(&mut target, &mut patch, ty)?;

        let mut target = Members::of(target);
        for (key, value) in patch {
            let deletes = key.starts_with(DELETE_FROM);
            let key = if deletes { list_name(&key, DELETE_FROM, BAD_PRIMITIVE_LIST)?.into() } else { key };
            if value.is_null() {
                target.remove(&key);
                continue;
            }
            let Some(old) = target.get_mut(&key) else {
                if !deletes && let Some(new) = taken_as_is(value) {
                    target.push(key, new);
                }
                continue;
            };
            match (old.take(), value) {
                (Value::Object(live), Value::Object(new)) => {
                    let facts = self.facts(ty, &key)?;
                    *old = Value::Object(if facts.patch.replace {
                        new
                    } else {
                        self.maps(live, new, facts.ty)?
                    });
                }
                (Value::Array(live), Value::Array(new)) => {
                    let facts = self.facts(ty, &key)?;
                    *old = Value::Array(self.lists(live, new, &facts, deletes)?);
                }
                (live, new) if same_kind(&live, &new) => *old = new,
                (live, _) if deletes => *old = live,
                (_, new) => match taken_as_is(new) {
                    Some(new) => *old = new,
                    None => target.remove(&key),
                },
            }
        }
        Ok(target.into_map())
    }

    /// `$setElementOrder/<list>`: merges the list it speaks of and puts it into that order.
    fn ordered_lists(&self, target: &mut Map, patch: &mut Map, ty: &Type) -> Result<(), PatchError> {
        let directives: Vec<Key> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
        for directive in directives {
            let order = patch.remove(&directive).unwrap_or_default();
            let Value::Array(order) = order else {
                return internal(format!(
                    "expected a []interface {{}}, but received a {}",
                    order.kind_name()
                ));
            };
            let name = list_name(&directive, SET_ORDER, BAD_SET_ORDER)?;
            let list = |v: Option<Value>| match v {
                None => Ok(None),
                Some(Value::Array(items)) => Ok(Some(items)),
                Some(other) => {
                    internal(format!("expected a []interface {{}}, but received a {}", other.kind_name()))
                }
            };
            let new = list(patch.remove(name))?;
            let live = list(target.get(name).cloned())?;
            let facts = self.facts(ty, name)?;
            let key = facts.key;
            check_order(new.as_deref().unwrap_or_default(), &order, key)?;
            let live_positions = Positions::of(live.as_deref().unwrap_or_default(), key);
            let merged = match (live, new) {
                (None, None) => continue,
                (Some(items), None) | (None, Some(items)) => {
                    holds_maps([&items, &[]])?;
                    items
                }
                (Some(live), Some(new)) => {
                    holds_maps([&live, &new])?;
                    self.lists(live, new, &facts, false)?
                }
            };
            let arranged = arrange(merged, &order, &live_positions, key)?;
            target.insert(name, Value::Array(arranged));
        }
        Ok(())
    }

    fn lists(
        &self,
        live: Vec<Value>,
        patch: Vec<Value>,
        facts: &Facts<'_>,
        deletes: bool,
    ) -> Result<Vec<Value>, PatchError> {
        if !facts.patch.merge {
            return Ok(patch);
        }
        if live.is_empty() && patch.is_empty() {
            return Ok(live);
        }
        let element = match facts.ty {
            Type::List(of) => of,
            other => other,
        };
        if !holds_maps([&live, &patch])? {
            return primitives(live, patch, facts.key, deletes);
        }
        let Some(key) = facts.key else {
            return internal("cannot merge lists without merge key for type struct");
        };
        let (live, patch) = list_directives(live, patch, key)?;
        let live_positions = Positions::of(&live, Some(key));
        let named = patch.clone();
        let merged = self.elements(live, patch, element, key)?;
        arrange(merged, &named, &live_positions, Some(key))
    }

    /// Merges the elements of `patch` into those of `live` with the same key, or appends them.
    fn elements(
        &self,
        live: Vec<Value>,
        patch: Vec<Value>,
        element: &Type,
        key: &'static str,
    ) -> Result<Vec<Value>, PatchError> {
        let mut positions = Positions::of(&live, Some(key));
        let mut out = live;
        for new in patch {
            if !as_map(&new)?.contains_key(key) {
                return no_merge_key(&new, key);
            }
            match (positions.get(&new, Some(key)), new) {
                (Some(i), Value::Object(new)) => {
                    let live = match out[i].take() {
                        Value::Object(map) => map,
                        _ => Map::new(),
                    };
                    out[i] = Value::Object(self.maps(live, new, element)?);
                }
                (_, new) => {
                    positions.insert(&new, Some(key), out.len());
                    out.extend(taken_as_is(new));
                }
            }
        }
        Ok(out)
    }
}

/// Scalars: the union, or `live` without what is to be deleted.
fn primitives(
    live: Vec<Value>,
    patch: Vec<Value>,
    key: MergeKey,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    let named = Positions::of(&patch, None);
    if deletes {
        return Ok(live.into_iter().filter(|item| named.get(item, None).is_none()).collect());
    }
    let live_positions = Positions::of(&live, key);
    let mut seen = Positions::of(&[], None);
    let mut merged = Vec::with_capacity(live.len() + patch.len());
    for item in live.into_iter().chain(patch.iter().cloned()) {
        if seen.get(&item, None).is_none() {
            seen.insert(&item, None, merged.len());
            merged.push(item);
        }
    }
    arrange(merged, &patch, &live_positions, key)
}

/// `{"$patch": "delete", <key>: …}` and `{"$patch": "replace"}` among the elements.
fn list_directives(
    live: Vec<Value>,
    patch: Vec<Value>,
    key: &'static str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut elements, mut deleted, mut replace) = (Vec::new(), Vec::new(), false);
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            elements.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") if item.get(key).is_none() => return no_merge_key(&item, key),
            Some("delete") => deleted.push(item),
            Some("replace") => replace = true,
            Some("merge") => return internal("merging lists cannot yet be specified in the patch"),
            _ => return unknown_directive(directive, &item),
        }
    }
    if replace {
        return Ok((elements, Vec::new()));
    }
    let deleted = Positions::of(&deleted, Some(key));
    let live = live.into_iter().filter(|item| deleted.get(item, Some(key)).is_none()).collect();
    Ok((live, elements))
}

/// `$retainKeys`: members of `target` it does not list go; members of `patch` must be in it.
fn retain_keys(target: &mut Map, patch: &mut Map) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return bad_request(BAD_RETAIN_KEYS) };
    let listed = |name: &str| keys.iter().any(|k| *k == *name);
    for (name, value) in patch.iter() {
        let directive = name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
        if !value.is_null() && !directive && !listed(name) {
            return bad_request(BAD_RETAIN_KEYS);
        }
    }
    target.retain(|name, _| listed(name));
    Ok(())
}

/// `<prefix>/<list>` gives the list's name.
fn list_name<'a>(key: &'a str, prefix: &str, error: &str) -> Result<&'a str, PatchError> {
    match key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) {
        Some(name) => Ok(name),
        None => bad_request(error),
    }
}

/// The elements of `patch` (deletions aside) must come in the order of `order` and all be in it.
fn check_order(patch: &[Value], order: &[Value], key: MergeKey) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    if let Some(key) = key {
        for item in patch.iter().chain(order) {
            let map = as_map(item)?;
            if !map.contains_key(PATCH) && !map.contains_key(key) {
                return no_merge_key(item, key);
            }
        }
    }
    let identity = |item: &Value| key.map_or_else(|| item.clone(), |k| item[k].clone());
    let mut expected = order.iter().map(identity);
    for item in patch {
        if key.is_some() && item.get(PATCH).is_some() {
            continue;
        }
        let wanted = identity(item);
        if !expected.any(|e| e == wanted) {
            let print = |list: &[Value]| go_print(&Value::Array(list.to_vec()));
            return internal(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                print(patch),
                print(order)
            ));
        }
    }
    Ok(())
}

fn unknown_directive<T>(directive: &Value, map: &Value) -> Result<T, PatchError> {
    internal(format!("unknown patch type: {} in map: {}", go_print(directive), go_print(map)))
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_FROM)
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// A value that meets nothing to merge with: without its nulls and directives; `None` if it was
/// nothing but a directive.
fn taken_as_is(mut value: Value) -> Option<Value> {
    fn clean(value: &mut Value) -> bool {
        match value {
            Value::Object(map) => {
                if map.contains_key(PATCH) {
                    return false;
                }
                map.retain(|k, v| !v.is_null() && !is_directive(k) && clean(v));
            }
            Value::Array(items) => items.retain_mut(clean),
            _ => {}
        }
        true
    }
    clean(&mut value).then_some(value)
}

#[cfg(test)]
#[path = "strategic_test.rs"]
mod tests;
