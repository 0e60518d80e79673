//! The half that knows types: reads a document as a message.

use std::fmt;

use super::scan::{Scan, Scanner, Token, Trail};
use crate::codec::{DecodeError, Decoded, STRICT_ERRORS_MAX};
use crate::quantity::Quantity;
use crate::schema::{Field, Message, MessageId, Schema, SchemaOr, Type};
use crate::time;
use crate::tree::{Key, Map, Value};

pub(super) fn decode(schema: &Schema, message: MessageId, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut decoder = Decoder {
        schema,
        scanner: Scanner::new(bytes),
        strict: Vec::new(),
        type_error: None,
        form_error: None,
        quiet: 0,
    };
    let message = schema.message(message);
    let root = At { parent: None, step: Step::Root, message };
    let token = decoder.scanner.token()?;
    let value = match token {
        Token::Object => decoder.object(message, &root)?,
        Token::Null => Value::object(),
        _ => {
            decoder.wrong(token, None, &short_go_name(message), &root)?;
            Value::object()
        }
    };
    decoder.scanner.end()?;
    match decoder.form_error.or(decoder.type_error) {
        Some(message) => Err(DecodeError::Type(message)),
        None => Ok(Decoded { value, strict: decoder.strict }),
    }
}

/// Where the decoder is, as a list through its stack frames.
struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
    /// The innermost message.
    message: &'a Message,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

/// `spec.containers[0].image`.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        let dot = if parent.parent.is_some() { "." } else { "" };
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) | Step::Key(name) => write!(f, "{dot}{name}"),
            Step::Index(i) => write!(f, "[{i}]"),
        }
    }
}

impl At<'_> {
    /// The struct fields on the way, as Go names them in a type error: without keys and indices.
    fn fields(&self) -> String {
        let mut out = self.parent.map(At::fields).unwrap_or_default();
        if let Step::Field(name) = self.step {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(name);
        }
        out
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    scanner: Scanner<'a>,
    strict: Vec<String>,
    /// The first value of a wrong type; Go goes on reading after one.
    type_error: Option<String>,
    /// The first value whose type has a parser of its own that refused it; Go stops there.
    form_error: Option<String>,
    /// Above zero inside values that Go reads with a lenient decoder of their own.
    quiet: u32,
}

impl<'a> Decoder<'a> {
    fn report(&mut self, what: &str, at: &At<'_>, key: &str) {
        if self.quiet > 0 || self.strict.len() >= STRICT_ERRORS_MAX {
            return;
        }
        let dot = if at.parent.is_some() { "." } else { "" };
        let message = format!("{what} field \"{at}{dot}{key}\"");
        if !self.strict.contains(&message) {
            self.strict.push(message);
        }
    }

    /// Notes a type error and skips the value.
    fn wrong(&mut self, token: Token, number: Option<&str>, go: &str, at: &At<'_>) -> Scan<()> {
        if self.type_error.is_none() {
            let mut what = token.name().to_owned();
            if let Some(number) = number {
                what = format!("{what} {number}");
            }
            let fields = at.fields();
            self.type_error = Some(if fields.is_empty() {
                format!("json: cannot unmarshal {what} into Go value of type {go}")
            } else {
                let message = at.message.name.rsplit('.').next().unwrap_or_default();
                format!("json: cannot unmarshal {what} into Go struct field {message}.{fields} of type {go}")
            });
        }
        if number.is_none() { self.scanner.skip(token) } else { Ok(()) }
    }

    fn refuse(&mut self, message: String) {
        self.form_error.get_or_insert(message);
    }

    /// The members of an object whose brace was taken.
    fn object(&mut self, message: &Message, at: &At<'_>) -> Scan<Value> {
        let mut map = Map::with_capacity(message.fields.len().min(8));
        let mut first = true;
        let mut expected = 0;
        let mut seen = 0u128;
        while let Some(key) = self.scanner.key(first)? {
            first = false;
            let index = message.index_from(expected, &key);
            let token = self.scanner.token()?;
            let Some(index) = index else {
                if message.preserve_unknown {
                    let value = self.scanner.any_of(token, &Trail::Root, &mut None)?;
                    map.insert(Key::Owned(key.into()), value);
                } else {
                    self.report("unknown", at, &key);
                    self.scanner.skip(token)?;
                }
                continue;
            };
            expected = index + 1;
            let field = &message.fields[index];
            // Only messages of custom resources may have more fields than the mask has bits.
            let bit = 1u128.checked_shl(index as u32).unwrap_or(0);
            let repeated = if bit == 0 { map.contains_key(field.json) } else { seen & bit != 0 };
            seen |= bit;
            if repeated {
                self.report("duplicate", at, field.json);
            }
            let here = At { parent: Some(at), step: Step::Field(field.json), message };
            match self.field(field, token, &here)? {
                Some(value) if repeated => {
                    map.set(field.json, value);
                }
                Some(value) => map.push_unique(Key::Static(field.json), value),
                None => {}
            }
        }
        Ok(Value::Object(map))
    }

    /// `None`: nil, or the zero value.
    fn field(&mut self, field: &Field, token: Token, at: &At<'_>) -> Scan<Option<Value>> {
        self.value(&field.ty, token, at)
    }

    fn value(&mut self, ty: &Type, token: Token, at: &At<'_>) -> Scan<Option<Value>> {
        if token == Token::Null {
            return Ok(None);
        }
        match (ty, token) {
            (Type::String, Token::String) => Ok(Some(Value::String(self.scanner.string()?.into()))),
            (Type::Bool, Token::Bool(b)) => Ok(Some(Value::Bool(b))),
            (Type::Int32 | Type::Int64 | Type::Float, Token::Number) => self.number(ty, at),
            (Type::Message(id), Token::Object) => {
                let message = self.schema.message(*id);
                Ok(Some(self.object(message, &At { parent: at.parent, step: at.step, message })?))
            }
            (Type::List(item), Token::Array) => self.list(item, at).map(Some),
            (Type::Map(value), Token::Object) => self.map(value, at).map(Some),
            (Type::Bytes, Token::String) => {
                let text = self.scanner.string()?;
                match crate::codec::base64_normal(&text) {
                    Ok(value) => Ok(Some(Value::String(value.into()))),
                    Err(message) => {
                        self.type_error.get_or_insert(message);
                        Ok(None)
                    }
                }
            }
            (Type::RawExtension | Type::Json | Type::FieldsV1, _) => {
                self.scanner.any_of(token, &Trail::Root, &mut None).map(Some)
            }
            (Type::SchemaOr(other, id), _) => self.schema_or(*other, *id, token, at),
            (Type::Time | Type::MicroTime | Type::Duration | Type::Quantity | Type::IntOrString, _) => {
                self.opaque(ty, token)
            }
            _ => {
                let go = go_type(self.schema, ty);
                self.wrong(token, None, &go, at)?;
                Ok(None)
            }
        }
    }

    fn number(&mut self, ty: &Type, at: &At<'_>) -> Scan<Option<Value>> {
        let text = self.scanner.number()?;
        let value = match ty {
            Type::Int32 => text.parse::<i32>().ok().map(|i| Value::Int(i.into())),
            Type::Int64 => text.parse::<i64>().ok().map(Value::Int),
            _ => text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Value::Float),
        };
        if value.is_none() {
            let go = go_type(self.schema, ty);
            self.wrong(Token::Number, Some(text), &go, at)?;
        }
        Ok(value)
    }

    fn list(&mut self, item: &Type, at: &At<'_>) -> Scan<Value> {
        let mut list = Vec::new();
        while self.scanner.element(list.is_empty())? {
            let token = self.scanner.token()?;
            let here = At { parent: Some(at), step: Step::Index(list.len()), message: at.message };
            let value = self.value(item, token, &here)?;
            list.push(value.unwrap_or_else(|| zero(item)));
        }
        Ok(Value::Array(list))
    }

    fn map(&mut self, ty: &Type, at: &At<'_>) -> Scan<Value> {
        let mut map = Map::new();
        let mut first = true;
        while let Some(key) = self.scanner.key(first)? {
            first = false;
            // The map is kept sorted: the normal form wants it so, and look-ups stay cheap.
            let place = match map.entries().last() {
                Some((last, _)) if **last >= *key => map.entries().binary_search_by(|(k, _)| (**k).cmp(&key)),
                _ => Err(map.len()),
            };
            if place.is_ok() {
                self.report("duplicate", at, &key);
            }
            let token = self.scanner.token()?;
            let here = At { parent: Some(at), step: Step::Key(&key), message: at.message };
            let value = self.value(ty, token, &here)?.unwrap_or_else(|| zero(ty));
            match place {
                Ok(at) => map.entries_mut()[at].1 = value,
                Err(at) => map.entries_mut().insert(at, (Key::Owned(key.into()), value)),
            }
        }
        Ok(Value::Object(map))
    }

    fn schema_or(
        &mut self,
        other: SchemaOr,
        id: MessageId,
        token: Token,
        at: &At<'_>,
    ) -> Scan<Option<Value>> {
        let message = self.schema.message(id);
        let here = At { parent: at.parent, step: at.step, message };
        self.quiet += 1;
        let value = match (other, token) {
            (_, Token::Object) => Some(self.object(message, &here)?),
            (SchemaOr::Bool, Token::Bool(b)) => Some(Value::Bool(b)),
            (SchemaOr::Schemas, Token::Array) => Some(self.list(&Type::Message(id), &here)?),
            (SchemaOr::Strings, Token::Array) => Some(self.list(&Type::String, &here)?),
            _ => {
                let what = match other {
                    SchemaOr::Bool => "boolean or JSON schema expected",
                    SchemaOr::Schemas | SchemaOr::Strings => "invalid JSON schema or array",
                };
                self.refuse(what.to_owned());
                self.scanner.skip(token)?;
                None
            }
        };
        self.quiet -= 1;
        Ok(value)
    }

    /// Types that Go gives a parser of their own.
    fn opaque(&mut self, ty: &Type, token: Token) -> Scan<Option<Value>> {
        let go = match ty {
            Type::IntOrString => "int32",
            _ => "string",
        };
        let parsed = match (ty, token) {
            (Type::Quantity, Token::String) => quantity(&self.scanner.string()?),
            (Type::Quantity, Token::Number) => quantity(self.scanner.number()?),
            (Type::IntOrString, Token::String) => Ok(Value::String(self.scanner.string()?.into())),
            (Type::IntOrString, Token::Number) => {
                let text = self.scanner.number()?;
                text.parse::<i32>()
                    .map(|i| Value::Int(i.into()))
                    .map_err(|_| format!("json: cannot unmarshal number {text} into Go value of type int32"))
            }
            (Type::Quantity, _) => {
                self.scanner.skip(token)?;
                Err(crate::quantity::ParseError::FormatWrong.to_string())
            }
            (Type::Time, Token::String) => {
                time::parse_time(&self.scanner.string()?).map(|t| t.to_time().into())
            }
            (Type::MicroTime, Token::String) => {
                time::parse_micro_time(&self.scanner.string()?).map(|t| t.to_micro_time().into())
            }
            (Type::Duration, Token::String) => {
                time::parse_duration(&self.scanner.string()?).map(|d| time::print_duration(d).into())
            }
            _ => {
                self.scanner.skip(token)?;
                Err(format!("json: cannot unmarshal {} into Go value of type {go}", token.name()))
            }
        };
        match parsed {
            Ok(value) => Ok(Some(value)),
            Err(message) => {
                self.refuse(message);
                Ok(None)
            }
        }
    }
}

/// The canonical form of a quantity.
fn quantity(text: &str) -> Result<Value, String> {
    text.trim().parse::<Quantity>().map(|q| q.to_string().into()).map_err(|e| e.to_string())
}

/// What a nil element of a list or map is: its zero value.
fn zero(ty: &Type) -> Value {
    match ty {
        Type::String | Type::Bytes => Value::from(""),
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::IntOrString => Value::Int(0),
        Type::Float => Value::Float(0.0),
        Type::Quantity => Value::from("0"),
        Type::Duration => Value::from("0s"),
        Type::Message(_) => Value::object(),
        _ => Value::Null,
    }
}

/// `core/v1.Container` is `v1.Container` in Go's messages.
fn short_go_name(message: &Message) -> String {
    message.name.rsplit('/').next().unwrap_or_default().to_owned()
}

fn go_type(schema: &Schema, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Float => "float64".to_owned(),
        Type::String => "string".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Duration => "v1.Duration".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::RawExtension => "runtime.RawExtension".to_owned(),
        Type::Json => "v1.JSON".to_owned(),
        Type::FieldsV1 => "v1.FieldsV1".to_owned(),
        Type::SchemaOr(..) => "v1.JSONSchemaProps".to_owned(),
        Type::Message(id) => short_go_name(schema.message(*id)),
        Type::List(item) => format!("[]{}", go_type(schema, item)),
        Type::Map(value) => format!("map[string]{}", go_type(schema, value)),
    }
}
