//! Tree to wire, in upstream's order: fields by number, map entries by key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::wire::{FIXED64, put_bytes, put_int, put_nested, put_tag};
use crate::codec::{DecodeError, json};
use crate::schema::{Field, Message, MessageId, Schema, SchemaOr, Type, Wire};
use crate::time;
use crate::tree::Value;

/// Encodes `value` as `message`, without envelope.
///
/// # Errors
/// [`DecodeError::Type`] if a value has not the type of its field.
pub fn encode(schema: &Schema, message: MessageId, value: &Value) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(512);
    Encoder { schema }.message(schema.message(message), value, &mut out)?;
    Ok(out)
}

struct Encoder<'a> {
    schema: &'a Schema,
}

type Put = Result<(), DecodeError>;

fn mismatch(field: &str, value: &Value) -> DecodeError {
    DecodeError::Type(format!("{field}: a {} cannot be written as protobuf", value.kind_name()))
}

impl Encoder<'_> {
    fn message(&self, message: &Message, value: &Value, out: &mut Vec<u8>) -> Put {
        if !value.is_object() && !value.is_null() {
            return Err(mismatch(&message.name, value));
        }
        self.level(message, &message.wire, value, out)
    }

    fn level(&self, message: &Message, wire: &[Wire], value: &Value, out: &mut Vec<u8>) -> Put {
        for item in wire {
            match item {
                Wire::Nested(number, inner) => {
                    put_nested(*number, out, |out| self.level(message, inner, value, out))?;
                }
                Wire::Field(number, index) => {
                    let field = &message.fields[*index];
                    self.field(field, *number, &value[field.json], out)?;
                }
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field, number: u32, value: &Value, out: &mut Vec<u8>) -> Put {
        match &field.ty {
            Type::List(item) if field.wrapped => {
                if value.is_null() {
                    return Ok(());
                }
                put_nested(number, out, |out| self.list(field, item, 1, value, out))
            }
            Type::List(item) => self.list(field, item, number, value, out),
            Type::Map(ty) => self.map(field, ty, number, value, out),
            ty => {
                if value.is_null() && (field.pointer || matches!(ty, Type::Bytes)) {
                    return Ok(());
                }
                self.value(field, ty, number, value, out)
            }
        }
    }

    fn list(&self, field: &Field, item: &Type, number: u32, value: &Value, out: &mut Vec<u8>) -> Put {
        if !value.is_array() && !value.is_null() {
            return Err(mismatch(field.json, value));
        }
        value.items().iter().try_for_each(|v| self.value(field, item, number, v, out))
    }

    fn map(&self, field: &Field, ty: &Type, number: u32, value: &Value, out: &mut Vec<u8>) -> Put {
        if !value.is_object() && !value.is_null() {
            return Err(mismatch(field.json, value));
        }
        let mut entries: Vec<_> = value.members().iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in entries {
            put_nested(number, out, |out| {
                put_bytes(1, key.as_bytes(), out);
                match ty {
                    // Of values only wrapped lists occur.
                    Type::List(item) => put_nested(2, out, |out| self.list(field, item, 1, value, out)),
                    _ => self.value(field, ty, 2, value, out),
                }
            })?;
        }
        Ok(())
    }

    /// One value; null stands for the zero value.
    fn value(&self, field: &Field, ty: &Type, number: u32, value: &Value, out: &mut Vec<u8>) -> Put {
        let wrong = || mismatch(field.json, value);
        let text = || match value {
            Value::Null => Ok(""),
            other => other.as_str().ok_or_else(wrong),
        };
        match ty {
            Type::Bool => match value {
                Value::Null => put_int(number, 0, out),
                other => put_int(number, i64::from(other.as_bool().ok_or_else(wrong)?), out),
            },
            Type::Int32 | Type::Int64 => match value {
                Value::Null => put_int(number, 0, out),
                other => put_int(number, other.as_i64().ok_or_else(wrong)?, out),
            },
            Type::Float => {
                let f = if value.is_null() { 0.0 } else { value.as_f64().ok_or_else(wrong)? };
                put_tag(number, FIXED64, out);
                out.extend_from_slice(&f.to_le_bytes());
            }
            Type::String => put_bytes(number, text()?.as_bytes(), out),
            Type::Bytes => {
                let bytes = STANDARD.decode(text()?).map_err(|_| wrong())?;
                put_bytes(number, &bytes, out);
            }
            Type::Time | Type::MicroTime => {
                let text = text()?;
                put_nested(number, out, |out| {
                    if text.is_empty() {
                        return Ok(());
                    }
                    let moment = time::parse_time(text).map_err(DecodeError::Type)?;
                    put_int(1, moment.seconds, out);
                    let nanos = if *ty == Type::MicroTime { moment.nanos / 1000 * 1000 } else { 0 };
                    put_int(2, i64::from(nanos), out);
                    Ok(())
                })?;
            }
            Type::Duration => {
                let nanos = match text()? {
                    "" => 0,
                    text => time::parse_duration(text).map_err(DecodeError::Type)?,
                };
                put_nested(number, out, |out| -> Put {
                    put_int(1, nanos, out);
                    Ok(())
                })?;
            }
            Type::Quantity => {
                let number_text;
                let text = match value {
                    Value::Null => "0",
                    Value::String(s) => s,
                    other => {
                        number_text = other.to_string();
                        &number_text
                    }
                };
                put_nested(number, out, |out| -> Put {
                    put_bytes(1, text.as_bytes(), out);
                    Ok(())
                })?;
            }
            Type::IntOrString => put_nested(number, out, |out| {
                let (kind, int, string) = match value {
                    Value::Null => (0, 0, ""),
                    Value::String(s) => (1, 0, &**s),
                    other => (0, other.as_i64().ok_or_else(wrong)?, ""),
                };
                put_int(1, kind, out);
                put_int(2, int, out);
                put_bytes(3, string.as_bytes(), out);
                Ok(())
            })?,
            Type::RawExtension | Type::Json | Type::FieldsV1 => put_nested(number, out, |out| -> Put {
                if !value.is_null() || *ty == Type::Json {
                    put_bytes(1, &json::encode(value), out);
                }
                Ok(())
            })?,
            Type::SchemaOr(other, id) => {
                let message = self.schema.message(*id);
                put_nested(number, out, |out| self.schema_or(field, *other, message, value, out))?;
            }
            Type::Message(id) => {
                let message = self.schema.message(*id);
                put_nested(number, out, |out| self.message(message, value, out))?;
            }
            // A list of lists or a map of maps does not exist in the API.
            Type::List(_) | Type::Map(_) => return Err(wrong()),
        }
        Ok(())
    }

    fn schema_or(
        &self,
        field: &Field,
        other: SchemaOr,
        message: &Message,
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Put {
        let schema = |number: u32, value: &Value, out: &mut Vec<u8>| {
            put_nested(number, out, |out| self.message(message, value, out))
        };
        match (other, value) {
            (SchemaOr::Bool, Value::Bool(b)) => put_int(1, i64::from(*b), out),
            (SchemaOr::Bool, v) => {
                put_int(1, 1, out);
                schema(2, v, out)?;
            }
            (SchemaOr::Schemas, Value::Array(list)) => list.iter().try_for_each(|v| schema(2, v, out))?,
            (SchemaOr::Strings, Value::Array(list)) => {
                list.iter().try_for_each(|v| self.value(field, &Type::String, 2, v, out))?;
            }
            (_, v) => schema(1, v, out)?,
        }
        Ok(())
    }
}
