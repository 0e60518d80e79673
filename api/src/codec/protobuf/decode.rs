//! Wire to tree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::wire::{Item, Reader};
use crate::codec::{DEPTH_MAX, DecodeError, json};
use crate::schema::{Field, Message, MessageId, Schema, SchemaOr, Type, Wire};
use crate::time::{self, Moment};
use crate::tree::{Key, Map, Value};

/// Decodes bytes without envelope as `message`.
///
/// # Errors
/// [`DecodeError::Syntax`] if they are damaged, [`DecodeError::Type`] if embedded JSON or text is
/// not what its field holds.
pub fn decode(schema: &Schema, message: MessageId, bytes: &[u8]) -> Result<Value, DecodeError> {
    Decoder { schema }.message(schema.message(message), bytes, 0)
}

struct Decoder<'a> {
    schema: &'a Schema,
}

fn wrong(field: &str) -> DecodeError {
    DecodeError::Syntax(format!("proto: wrong wireType for field {field}"))
}

fn utf8(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => Value::String(String::from_utf8_lossy(bytes).into()),
    }
}

impl Decoder<'_> {
    fn message(&self, message: &Message, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Syntax("exceeded max depth".to_owned()));
        }
        let mut map = Map::new();
        self.level(message, &message.wire, bytes, &mut map, depth)?;
        for field in message.fields.iter().filter(|f| matches!(f.ty, Type::Map(_))) {
            if let Some(Value::Object(entries)) = map.get_mut(field.json)
                && !entries.entries().is_sorted_by(|a, b| a.0 < b.0)
            {
                *entries = Map::from_entries(std::mem::take(entries.entries_mut()));
                entries.sort_by_key();
            }
        }
        Ok(Value::Object(map))
    }

    fn level(
        &self,
        message: &Message,
        wire: &[Wire],
        bytes: &[u8],
        map: &mut Map,
        depth: usize,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        // Fields come in the order of their numbers: go on from the last one found.
        let mut last = 0;
        while let Some((number, item)) = reader.next()? {
            let found = (last..wire.len()).chain(0..last).find(|&i| wire[i].number() == number);
            let Some(i) = found else { continue };
            last = i;
            match (&wire[i], item) {
                (Wire::Nested(_, inner), Item::Bytes(b)) => self.level(message, inner, b, map, depth + 1)?,
                (Wire::Nested(..), _) => return Err(wrong(&message.name)),
                (Wire::Field(_, index), item) => self.field(&message.fields[*index], item, map, depth)?,
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field, item: Item<'_>, map: &mut Map, depth: usize) -> Result<(), DecodeError> {
        match (&field.ty, item) {
            (Type::List(ty), Item::Bytes(bytes)) if field.wrapped => {
                let list = self.wrapped(field, ty, bytes, depth)?;
                map.set(field.json, list);
            }
            (Type::List(ty), Item::Bytes(bytes))
                if matches!(**ty, Type::Int32 | Type::Int64 | Type::Bool) =>
            {
                // Packed, as proto3 writers do.
                let mut reader = Reader::new(bytes);
                let list = map.entry_or(Key::Static(field.json), || Value::Array(Vec::new()));
                while !reader.is_empty() {
                    let value = self.value(field, ty, Item::Int(reader.varint()?), depth)?;
                    list.as_array_mut().ok_or_else(|| wrong(field.json))?.extend(value);
                }
            }
            (Type::List(ty), item) => {
                let value = self.value(field, ty, item, depth)?.unwrap_or_default();
                let list = map.entry_or(Key::Static(field.json), || Value::Array(Vec::new()));
                list.as_array_mut().ok_or_else(|| wrong(field.json))?.push(value);
            }
            (Type::Map(ty), Item::Bytes(bytes)) => {
                let (key, value) = self.entry(field, ty, bytes, depth)?;
                // Repeats are taken out when the message is whole.
                map.object_mut(Key::Static(field.json)).push_unique(key, value);
            }
            (ty, item) => {
                let value = self.value(field, ty, item, depth)?;
                if let Some(value) = value.filter(|v| field.pointer || !vanishes(field, v)) {
                    map.set(field.json, value);
                }
            }
        }
        Ok(())
    }

    fn wrapped(&self, field: &Field, ty: &Type, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut list = Vec::new();
        while let Some((number, item)) = reader.next()? {
            if number == 1 {
                list.push(self.value(field, ty, item, depth)?.unwrap_or_default());
            }
        }
        Ok(Value::Array(list))
    }

    fn entry(
        &self,
        field: &Field,
        ty: &Type,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(Key, Value), DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut key, mut value) = (String::new(), None);
        while let Some((number, item)) = reader.next()? {
            match (number, item) {
                (1, Item::Bytes(b)) => key = String::from_utf8_lossy(b).into_owned(),
                (2, Item::Bytes(b)) if matches!(ty, Type::List(_)) => {
                    let Type::List(inner) = ty else { continue };
                    value = Some(self.wrapped(field, inner, b, depth)?);
                }
                (2, item) => value = self.value(field, ty, item, depth)?,
                _ => {}
            }
        }
        Ok((key.into(), value.unwrap_or_default()))
    }

    /// `None`: the zero of a type whose zero is nil in JSON.
    fn value(
        &self,
        field: &Field,
        ty: &Type,
        item: Item<'_>,
        depth: usize,
    ) -> Result<Option<Value>, DecodeError> {
        Ok(Some(match (ty, item) {
            (Type::Bool, Item::Int(n)) => Value::Bool(n != 0),
            (Type::Int32, Item::Int(n)) => Value::Int(i64::from(n as i32)),
            (Type::Int64, Item::Int(n)) => Value::Int(n as i64),
            (Type::Float, Item::Fixed64(n)) => Value::Float(f64::from_bits(n)),
            (Type::String, Item::Bytes(b)) => utf8(b),
            (Type::Bytes, Item::Bytes(b)) => STANDARD.encode(b).into(),
            (Type::Time | Type::MicroTime, Item::Bytes([])) => return Ok(None),
            (Type::Time | Type::MicroTime, Item::Bytes(b)) => {
                let [seconds, nanos] = ints(b)?;
                let moment = Moment { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
                if *ty == Type::Time { moment.to_time() } else { moment.to_micro_time() }.into()
            }
            (Type::Duration, Item::Bytes(b)) => time::print_duration(ints::<1>(b)?[0]).into(),
            (Type::Quantity, Item::Bytes(b)) => match part(b, 1)? {
                Some(text) => {
                    let text = String::from_utf8_lossy(text);
                    text.parse::<crate::quantity::Quantity>()
                        .map_err(|e| DecodeError::Type(e.to_string()))?
                        .to_string()
                        .into()
                }
                None => Value::from("0"),
            },
            (Type::IntOrString, Item::Bytes(b)) => {
                let [kind, int] = ints(b)?;
                if kind == 1 {
                    utf8(part(b, 3)?.unwrap_or_default())
                } else {
                    Value::Int(i64::from(int as i32))
                }
            }
            (Type::RawExtension | Type::Json | Type::FieldsV1, Item::Bytes(b)) => match part(b, 1)? {
                None | Some([]) if *ty == Type::Json => Value::Null,
                None | Some([]) => return Ok(None),
                Some(raw) => json::parse(raw)?.value,
            },
            (Type::SchemaOr(other, id), Item::Bytes(b)) => {
                self.schema_or(field, *other, self.schema.message(*id), b, depth)?
            }
            (Type::Message(id), Item::Bytes(b)) => self.message(self.schema.message(*id), b, depth + 1)?,
            _ => return Err(wrong(field.json)),
        }))
    }

    fn schema_or(
        &self,
        field: &Field,
        other: SchemaOr,
        message: &Message,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut schema, mut list, mut allows) = (None, Vec::new(), false);
        while let Some((number, item)) = reader.next()? {
            match (other, number, item) {
                (SchemaOr::Bool, 1, Item::Int(n)) => allows = n != 0,
                (SchemaOr::Bool, 2, Item::Bytes(b))
                | (SchemaOr::Schemas | SchemaOr::Strings, 1, Item::Bytes(b)) => {
                    schema = Some(self.message(message, b, depth + 1)?);
                }
                (SchemaOr::Schemas, 2, Item::Bytes(b)) => list.push(self.message(message, b, depth + 1)?),
                (SchemaOr::Strings, 2, Item::Bytes(b)) => list.push(utf8(b)),
                _ => return Err(wrong(field.json)),
            }
        }
        Ok(match (schema, other) {
            (Some(schema), _) => schema,
            (None, SchemaOr::Bool) => Value::Bool(allows),
            (None, _) => Value::Array(list),
        })
    }
}

/// The first numbers of a message of numbers, zero where absent.
fn ints<const N: usize>(bytes: &[u8]) -> Result<[i64; N], DecodeError> {
    let mut out = [0; N];
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        if let (Item::Int(n), Some(slot)) = (item, out.get_mut(number as usize - 1)) {
            *slot = n as i64;
        }
    }
    Ok(out)
}

/// One field of bytes of a message.
fn part(bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut out = None;
    while let Some((number, item)) = reader.next()? {
        if let Item::Bytes(b) = item
            && number == wanted
        {
            out = Some(b);
        }
    }
    Ok(out)
}

/// A zero on the wire of a field that is not a pointer and leaves JSON when zero.
fn vanishes(field: &Field, value: &Value) -> bool {
    field.omitempty
        && match value {
            Value::Bool(b) => !b,
            Value::Int(i) => *i == 0 && !matches!(field.ty, Type::IntOrString),
            Value::Float(f) => *f == 0.0,
            Value::String(s) => s.is_empty() && matches!(field.ty, Type::String | Type::Bytes),
            _ => false,
        }
}
