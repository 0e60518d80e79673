//! Writes YAML as upstream does: sorted keys, block style, strings quoted where they could be
//! taken for something else.

use trireme_api::Value;

/// The document, with a line's end.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(value, 0, &mut out),
        Value::Array(list) if !list.is_empty() => array(list, 0, &mut out),
        other => {
            scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out.into_bytes()
}

fn object(value: &Value, indent: usize, out: &mut String) {
    let mut members: Vec<(&str, &Value)> = value.members().iter().map(|(k, v)| (&**k, v)).collect();
    members.sort_by(|a, b| natural(a.0, b.0));
    for (i, (key, value)) in members.into_iter().enumerate() {
        // The first key of a list's item follows its dash.
        if i > 0 || !out.ends_with("- ") {
            spaces(indent, out);
        }
        text(key, indent, out);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                object(value, indent + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                array(list, indent, out);
            }
            other => {
                out.push(' ');
                scalar(other, indent, out);
                out.push('\n');
            }
        }
    }
}

fn array(list: &[Value], indent: usize, out: &mut String) {
    for item in list {
        spaces(indent, out);
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => object(item, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => {
                out.truncate(out.len() - 1);
                out.push('\n');
                array(inner, indent + 2, out);
            }
            other => {
                scalar(other, indent, out);
                out.push('\n');
            }
        }
    }
}

fn spaces(n: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', n));
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(s) => text(s, indent, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

fn text(s: &str, indent: usize, out: &mut String) {
    if s.contains('\n')
        && s.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
        && !s.starts_with([' ', '\n'])
    {
        block(s, indent, out);
    } else if needs_quotes(s) {
        if s.chars().any(|c| c.is_control()) || is_other_type(s) {
            out.push_str(&serde_json::to_string(s).unwrap_or_default());
        } else {
            out.push('\'');
            out.push_str(&s.replace('\'', "''"));
            out.push('\'');
        }
    } else {
        out.push_str(s);
    }
}

/// A literal block.
fn block(s: &str, indent: usize, out: &mut String) {
    out.push('|');
    let trailing = s.len() - s.trim_end_matches('\n').len();
    match trailing {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    for line in s.strip_suffix('\n').unwrap_or(s).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            spaces(indent + 2, out);
            out.push_str(line);
        }
    }
}

/// What YAML 1.1 would read as a boolean, null or number.
fn is_other_type(s: &str) -> bool {
    const WORDS: [&str; 15] = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "-.inf",
        "+.inf",
    ];
    let lower = s.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) || s == "=" || s == "<<" {
        return true;
    }
    let plain = s.trim_start_matches(['-', '+']).replace('_', "");
    let number = plain.parse::<f64>().is_ok() && plain.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let radix = ["0x", "0o", "0b"].iter().any(|p| plain.starts_with(p) && plain.len() > 2);
    let sexagesimal =
        plain.contains(':') && plain.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    let date = s.len() >= 10
        && s.as_bytes()[4] == b'-'
        && s.as_bytes()[7] == b'-'
        && s[..4].bytes().all(|b| b.is_ascii_digit());
    number || radix || sexagesimal || date
}

fn needs_quotes(s: &str) -> bool {
    if is_other_type(s) || s.starts_with(' ') || s.ends_with(' ') {
        return true;
    }
    let first = s.chars().next().unwrap_or(' ');
    if "!&*|>%@`'\"#{}[],".contains(first) {
        return true;
    }
    if "-?:".contains(first) && s[1..].starts_with([' ', '\t'])
        || matches!(s, "-" | "?" | ":" | "---" | "...")
    {
        return true;
    }
    s.contains(": ") || s.contains(" #") || s.ends_with(':') || s.chars().any(char::is_control)
}

/// go-yaml's order of keys: letters by code point, runs of digits by their value.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (a_chars, b_chars): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let number = |c: &[char], at: usize| -> (u64, usize) {
        let end = at + c[at..].iter().take_while(|x| x.is_ascii_digit()).count();
        (c[at..end].iter().collect::<String>().parse().unwrap_or(u64::MAX), end)
    };
    let mut i = 0;
    while i < a_chars.len() && i < b_chars.len() {
        let (x, y) = (a_chars[i], b_chars[i]);
        if x == y {
            i += 1;
            continue;
        }
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let ((m, _), (n, _)) = (number(&a_chars, i), number(&b_chars, i));
            if m != n {
                return m.cmp(&n);
            }
        }
        // Letters come after everything else.
        return match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, false) => std::cmp::Ordering::Greater,
            (false, true) => std::cmp::Ordering::Less,
            _ => x.cmp(&y),
        };
    }
    a_chars.len().cmp(&b_chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    #[test]
    fn documents_read_back_as_they_were() {
        let v = value!({
            "metadata": {"labels": {"n": "a", "x": "1"}, "time": "2026-01-01T00:00:00Z", "f:x": {".": {}}},
            "list": [{"b": 1, "a": ["x", "- y"]}, "it's", [1, 2]],
            "text": "a\nb\n", "empty": {}, "none": null, "no": "yes",
        });
        let text = String::from_utf8(encode(&v)).unwrap();
        assert!(text.contains("    \"n\": a\n    x: \"1\"\n"), "{text}");
        assert!(text.contains("- a:\n  - x\n  - '- y'\n  b: 1\n"), "{text}");
        assert!(text.contains("text: |\n  a\n  b\n"), "{text}");
        let back = trireme_api::codec::yaml::parse(text.as_bytes()).unwrap().value;
        assert_eq!(back, v, "{text}");
    }
}
