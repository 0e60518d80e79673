//! Writes JSON as Go's encoder does: `<`, `>` and `&` escaped, floats in its form.

use std::io::Write as _;

use crate::tree::Value;

/// Compact JSON.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    encode_into(value, &mut out);
    out
}

/// Compact JSON, appended to `out`.
pub fn encode_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(list) => {
            out.push(b'[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                encode_into(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                encode_into(item, out);
            }
            out.push(b'}');
        }
        scalar => write_scalar(scalar, out),
    }
}

/// JSON with an indent of two spaces, as `?pretty=true` gives it.
pub fn encode_pretty(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    pretty(value, 0, &mut out);
    out
}

fn pretty(value: &Value, indent: usize, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, indent: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * indent, b' ');
    };
    match value {
        Value::Array(list) if !list.is_empty() => {
            out.push(b'[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                line(out, indent + 1);
                pretty(item, indent + 1, out);
            }
            line(out, indent);
            out.push(b']');
        }
        Value::Object(map) if !map.is_empty() => {
            out.push(b'{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                line(out, indent + 1);
                string(key, out);
                out.extend_from_slice(b": ");
                pretty(item, indent + 1, out);
            }
            line(out, indent);
            out.push(b'}');
        }
        other => encode_into(other, out),
    }
}

fn write_scalar(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(i) => {
            let _ = write!(out, "{i}");
        }
        Value::Float(f) => float(*f, out),
        Value::String(s) => string(s, out),
        _ => out.extend_from_slice(b"null"),
    }
}

/// Go's form: the shortest digits that read back the same, with an exponent only for very small
/// and very large numbers.
fn float(f: f64, out: &mut Vec<u8>) {
    if !f.is_finite() {
        out.extend_from_slice(b"null");
    } else if f != 0.0 && (f.abs() < 1e-6 || f.abs() >= 1e21) {
        let text = format!("{f:e}");
        let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
        let sign = if exponent.starts_with('-') { '-' } else { '+' };
        let number = exponent.trim_start_matches('-');
        // Go keeps two digits of a positive exponent and drops the zero of a negative one.
        let pad = if sign == '+' && number.len() == 1 { "0" } else { "" };
        let _ = write!(out, "{digits}e{sign}{pad}{number}");
    } else {
        let _ = write!(out, "{f}");
    }
}

/// Bytes that a JSON string holds as they are; multi-byte characters are looked at one by one.
const fn plain(b: u8) -> bool {
    b >= 0x20 && b < 0x80 && b != b'"' && b != b'\\' && b != b'<' && b != b'>' && b != b'&'
}

/// A text with its quotes.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        if plain(b) {
            i += 1;
            continue;
        }
        if b >= 0x80 {
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            if b == 0xe2 && bytes.get(i + 1) == Some(&0x80) && matches!(bytes.get(i + 2), Some(0xa8 | 0xa9)) {
                out.extend_from_slice(&bytes[start..i]);
                out.extend_from_slice(if bytes[i + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                i += 3;
                start = i;
            } else {
                i += 1;
            }
            continue;
        }
        out.extend_from_slice(&bytes[start..i]);
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            _ => {
                let _ = write!(out, "\\u{b:04x}");
            }
        }
        i += 1;
        start = i;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}
