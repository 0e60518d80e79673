//! Values as Go's `%v` prints them: some of upstream's messages quote documents that way.

use std::fmt::Write;

use crate::tree::{Key, Value};

/// `map[a:1 b:[x y]]`: keys sorted, strings bare, null as `<nil>`.
pub fn go_print(value: &Value) -> String {
    let mut out = String::new();
    print(value, &mut out);
    out
}

fn print(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(s) => out.push_str(s),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                print(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<&(Key, Value)> = map.entries().iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            out.push_str("map[");
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                print(value, out);
            }
            out.push(']');
        }
        Value::Float(f) if *f != 0.0 && (f.abs() < 1e-4 || f.abs() >= 1e21) => out.push_str(&exponent(*f)),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            // Writing to a String does not fail.
            let _ = write!(out, "{value}");
        }
    }
}

/// `1e+21`, `5e-05`: Go pads the exponent to two digits.
fn exponent(f: f64) -> String {
    let text = format!("{f:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn prints_like_go() {
        let v = value!({"name": "x", "image": "i", "n": [1, true, null, 2.5], "e": 1e21, "s": 5e-5, "m": {}});
        assert_eq!(go_print(&v), "map[e:1e+21 image:i m:map[] n:[1 true <nil> 2.5] name:x s:5e-05]");
    }
}
