//! YAML by way of JSON, as upstream reads it: YAML 1.1 booleans, sorted keys, one document.

use serde_saphyr::{DuplicateKeyPolicy, options};

use super::{DecodeError, Decoded, json};
use crate::schema::{MessageId, Schema};
use crate::tree::Value;

/// Decodes `text` as `message`.
///
/// # Errors
/// As [`json::decode`].
pub fn decode(schema: &Schema, message: MessageId, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let any = parse(bytes)?;
    let mut decoded = json::decode(schema, message, &json::encode(&any.value))?;
    decoded.strict.splice(0..0, any.strict);
    Ok(decoded)
}

/// Decodes any YAML. Of a repeated key the last value stays, and the repeat is reported.
///
/// # Errors
/// [`DecodeError::Syntax`].
pub fn parse(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let syntax = |m: String| DecodeError::Syntax(format!("yaml: {m}"));
    let text = std::str::from_utf8(bytes).map_err(|_| syntax("invalid UTF-8".to_owned()))?;
    let text = first_document(text);
    let strict = options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Value>(text, strict) {
        Ok(mut value) => {
            sort(&mut value);
            Ok(Decoded { value, strict: Vec::new() })
        }
        Err(serde_saphyr::Error::DuplicateMappingKey { key, location }) => {
            let lenient = options! {
                duplicate_keys: DuplicateKeyPolicy::LastWins,
                legacy_octal_numbers: true,
                with_snippet: false,
            };
            let mut value: Value =
                serde_saphyr::from_str_with_options(text, lenient).map_err(|e| syntax(e.to_string()))?;
            sort(&mut value);
            let key = key.unwrap_or_default();
            let message = format!(
                "yaml: unmarshal errors:\n  line {}: key {key:?} already set in map",
                location.line()
            );
            Ok(Decoded { value, strict: vec![message] })
        }
        Err(e) => Err(syntax(e.to_string())),
    }
}

/// What follows the first document is not read. A marker at a line's start is one wherever it
/// stands: neither block nor quoted text may hold it.
fn first_document(text: &str) -> &str {
    let is = |line: &str, marker: &str| {
        line.strip_prefix(marker)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    };
    let (mut begun, mut at) = (false, 0);
    for line in text.split_inclusive('\n') {
        if begun && (is(line, "---") || is(line, "...")) {
            return &text[..at];
        }
        let bare = line.trim();
        // Comments and directives come before the document.
        begun |= is(line, "---") || !(bare.is_empty() || bare.starts_with('#') || line.starts_with('%'));
        at += line.len();
    }
    text
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_by_key();
            map.values_mut().for_each(sort);
        }
        Value::Array(list) => list.iter_mut().for_each(sort),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn yaml_is_read_as_upstream_reads_it() {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(
            read("a: yes\nb: \"yes\"\nc: 010\nd: 1.5\ne: ~\nf: [x, 2]\n").value,
            value!({
                "a": true, "b": "yes", "c": 8, "d": 1.5, "e": null, "f": ["x", 2]
            })
        );
        assert_eq!(
            read("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: \"1\"\n  k: \"2\"\n")
                .strict,
            ["yaml: unmarshal errors:\n  line 7: key \"k\" already set in map"]
        );
        for text in
            ["a: 1\n---\nb: 2\n", "# c\n---\na: 1\n--- \n[\n", "a: 1\n...\n", "---\r\na: 1\r\n---\r\n"]
        {
            assert_eq!(read(text).value, value!({"a": 1}), "{text:?}");
        }
        assert_eq!(read("a: |\n  x\n  ---\n  y\n").value, value!({"a": "x\n---\ny\n"}));
        assert_eq!(read("{\"a\": {\"b\": 1}}").value, value!({"a": {"b": 1}}));
        assert!(matches!(parse(b"a: [1"), Err(DecodeError::Syntax(_))));
    }
}
