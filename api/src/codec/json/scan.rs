//! The lexical half: values, strings and numbers, with Go's words for what is wrong.

use std::borrow::Cow;
use std::fmt;

use crate::codec::{DEPTH_MAX, DecodeError};
use crate::tree::{Key, Map, SeenKeys, Value};

pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

pub(super) type Scan<T> = Result<T, DecodeError>;

/// What a value starts as; enough to choose how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Null,
    Bool(bool),
    String,
    Number,
    Object,
    Array,
}

impl Token {
    /// Go's word for it in a type error.
    pub(super) fn name(self) -> &'static str {
        match self {
            Token::Null => "null",
            Token::Bool(_) => "bool",
            Token::String => "string",
            Token::Number => "number",
            Token::Object => "object",
            Token::Array => "array",
        }
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0, depth: 0 }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not space, not consumed.
    fn peek(&mut self) -> Scan<u8> {
        self.space();
        self.bytes.get(self.at).copied().ok_or_else(eof)
    }

    /// `invalid character 'x' <context>` at the current byte.
    fn invalid(&self, context: &str) -> DecodeError {
        match self.bytes.get(self.at) {
            None => eof(),
            Some(&b) => DecodeError::Syntax(format!("invalid character {} {context}", quote_byte(b))),
        }
    }

    /// Nothing but space may follow.
    pub(super) fn end(&mut self) -> Scan<()> {
        self.space();
        if self.at < self.bytes.len() { Err(self.invalid("after top-level value")) } else { Ok(()) }
    }

    /// What the next value is. `null` and the booleans are consumed, the opening bracket as well;
    /// strings and numbers are not.
    pub(super) fn token(&mut self) -> Scan<Token> {
        match self.peek()? {
            b'"' => Ok(Token::String),
            b'-' | b'0'..=b'9' => Ok(Token::Number),
            b'{' => self.open(Token::Object),
            b'[' => self.open(Token::Array),
            b'n' => self.literal("null", Token::Null),
            b't' => self.literal("true", Token::Bool(true)),
            b'f' => self.literal("false", Token::Bool(false)),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn open(&mut self, token: Token) -> Scan<Token> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DecodeError::Syntax("exceeded max depth".to_owned()));
        }
        self.at += 1;
        Ok(token)
    }

    fn literal(&mut self, word: &str, token: Token) -> Scan<Token> {
        for (i, c) in word.bytes().enumerate() {
            match self.bytes.get(self.at) {
                Some(&b) if b == c => self.at += 1,
                _ => {
                    return Err(self.invalid(&format!(
                        "in literal {word} (expecting {})",
                        quote_byte(word.as_bytes()[i])
                    )));
                }
            }
        }
        Ok(token)
    }

    /// Inside an object: the next key, its colon consumed; `None` at the end, brace consumed.
    pub(super) fn key(&mut self, first: bool) -> Scan<Option<Cow<'a, str>>> {
        let b = self.peek()?;
        if b == b'}' {
            self.at += 1;
            self.depth -= 1;
            return Ok(None);
        }
        if !first {
            if b != b',' {
                return Err(self.invalid("after object key:value pair"));
            }
            self.at += 1;
            self.peek()?;
        }
        if self.bytes[self.at] != b'"' {
            return Err(self.invalid("looking for beginning of object key string"));
        }
        let key = self.string()?;
        if self.peek()? != b':' {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Inside an array: whether another element follows; at the end the bracket is consumed.
    pub(super) fn element(&mut self, first: bool) -> Scan<bool> {
        match self.peek()? {
            b']' => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if first => Ok(true),
            b',' => {
                self.at += 1;
                if self.peek()? == b']' {
                    return Err(self.invalid("looking for beginning of value"));
                }
                Ok(true)
            }
            _ => Err(self.invalid("after array element")),
        }
    }

    /// A string, at its opening quote.
    pub(super) fn string(&mut self) -> Scan<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let rest = &self.bytes[start..];
        let plain = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).ok_or_else(eof)?;
        self.at = start + plain;
        match rest[plain] {
            b'"' => {
                self.at += 1;
                Ok(text(&rest[..plain]))
            }
            b'\\' => self.escaped(start).map(Cow::Owned),
            _ => Err(self.invalid("in string literal")),
        }
    }

    /// The rest of a string that has escapes, from its first one.
    fn escaped(&mut self, start: usize) -> Scan<String> {
        let mut out: Vec<u8> = self.bytes[start..self.at].to_vec();
        loop {
            match self.bytes.get(self.at).copied() {
                None => return Err(eof()),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match String::from_utf8(out) {
                        Ok(s) => s,
                        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
                    });
                }
                Some(0..=0x1f) => return Err(self.invalid("in string literal")),
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(b) => {
                    out.push(b);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Scan<char> {
        let c = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    /// Four hex digits, and the second half of a surrogate pair; a lone half is U+FFFD.
    fn unicode(&mut self) -> Scan<char> {
        let high = self.hex()?;
        if let Some(c) = char::from_u32(high) {
            return Ok(c);
        }
        if (0xd800..0xdc00).contains(&high) && self.bytes[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Scan<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|b| (*b as char).to_digit(16));
            let Some(digit) = digit else { return Err(self.invalid("in \\u hexadecimal character escape")) };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.at - start
    }

    /// A number's text, checked.
    pub(super) fn number(&mut self) -> Scan<&'a str> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => {
                self.digits();
            }
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.invalid("after decimal point in numeric literal"));
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.invalid("in exponent of numeric literal"));
            }
        }
        Ok(std::str::from_utf8(&self.bytes[start..self.at]).expect("digits are ASCII"))
    }

    /// Any value. `duplicate` gets the path of each repeated key.
    pub(super) fn any(&mut self, duplicate: &mut dyn FnMut(String)) -> Scan<Value> {
        let token = self.token()?;
        self.any_of(token, &Trail::Root, &mut Some(duplicate))
    }

    /// The rest of a value whose token was taken. Without `duplicate` repeats go unnoticed.
    pub(super) fn any_of(
        &mut self,
        token: Token,
        trail: &Trail<'_>,
        duplicate: &mut Option<&mut dyn FnMut(String)>,
    ) -> Scan<Value> {
        Ok(match token {
            Token::Null => Value::Null,
            Token::Bool(b) => Value::Bool(b),
            Token::String => Value::String(self.string()?.into()),
            Token::Number => untyped_number(self.number()?)?,
            Token::Array => {
                let mut list = Vec::new();
                while self.element(list.is_empty())? {
                    let token = self.token()?;
                    list.push(self.any_of(token, &Trail::Index(trail, list.len()), duplicate)?);
                }
                Value::Array(list)
            }
            Token::Object => {
                let mut map = Map::new();
                let mut keys = SeenKeys::default();
                let mut first = true;
                while let Some(key) = self.key(first)? {
                    first = false;
                    let here = Trail::Key(trail, &key);
                    let seen = keys.position(&map, &key);
                    if let (Some(_), Some(report)) = (seen, &mut *duplicate) {
                        report(here.to_string());
                    }
                    let token = self.token()?;
                    let value = self.any_of(token, &here, duplicate)?;
                    match seen {
                        Some(at) => map.entries_mut()[at].1 = value,
                        None => map.push_unique(Key::Owned(key.into()), value),
                    }
                }
                Value::Object(map)
            }
        })
    }

    /// Skips the rest of a value whose token was taken.
    pub(super) fn skip(&mut self, token: Token) -> Scan<()> {
        match token {
            Token::Null | Token::Bool(_) => {}
            Token::String => {
                self.string()?;
            }
            Token::Number => {
                self.number()?;
            }
            Token::Array => {
                let mut first = true;
                while self.element(first)? {
                    first = false;
                    let token = self.token()?;
                    self.skip(token)?;
                }
            }
            Token::Object => {
                let mut first = true;
                while self.key(first)?.is_some() {
                    first = false;
                    let token = self.token()?;
                    self.skip(token)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn type_meta(&mut self) -> Scan<(String, String)> {
        let (mut api_version, mut kind) = (String::new(), String::new());
        let token = self.token()?;
        if token != Token::Object {
            let message = format!(
                "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                token.name()
            );
            return Err(DecodeError::Type(message));
        }
        let mut first = true;
        while let Some(key) = self.key(first)? {
            first = false;
            let token = self.token()?;
            match &*key {
                "apiVersion" if token == Token::String => api_version = self.string()?.into_owned(),
                "kind" if token == Token::String => kind = self.string()?.into_owned(),
                "apiVersion" | "kind" if token != Token::Null => {
                    let message = format!(
                        "json: cannot unmarshal {} into Go struct field .{key} of type string",
                        token.name()
                    );
                    return Err(DecodeError::Type(message));
                }
                _ => self.skip(token)?,
            }
        }
        self.end()?;
        Ok((api_version, kind))
    }
}

/// Where the scanner is, as a list through its stack frames: printed only when a key repeats.
pub(super) enum Trail<'a> {
    Root,
    Key(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trail::Root => Ok(()),
            Trail::Key(Trail::Root, key) => f.write_str(key),
            Trail::Key(parent, key) => write!(f, "{parent}.{key}"),
            Trail::Index(parent, i) => write!(f, "{parent}[{i}]"),
        }
    }
}

/// Text of a document; what is not UTF-8 in it is replaced, as Go does.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(s) => Cow::Borrowed(s),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Integers stay integers where they fit; everything else is a float.
fn untyped_number(text: &str) -> Scan<Value> {
    if let Ok(i) = text.parse::<i64>() {
        return Ok(Value::Int(i));
    }
    match text.parse::<f64>() {
        Ok(f) if f.is_finite() => Ok(Value::Float(f)),
        _ => Err(DecodeError::Type(format!(
            "json: cannot unmarshal number {text} into Go value of type float64"
        ))),
    }
}

fn eof() -> DecodeError {
    DecodeError::Syntax("unexpected end of JSON input".to_owned())
}

/// A byte as Go quotes it in a syntax error.
fn quote_byte(b: u8) -> String {
    match b {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x20..=0x7e => format!("'{}'", b as char),
        0x80.. => format!("'{}'", char::from(b)),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        11 => r"'\v'".to_owned(),
        12 => r"'\f'".to_owned(),
        _ => format!("'\\x{b:02x}'"),
    }
}
