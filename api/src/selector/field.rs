//! Field selectors: `metadata.name=x,spec.nodeName!=y`; `\`, `,` and `=` in values are escaped
//! with `\`.

use std::fmt;
use std::str::FromStr;

/// Why a field selector cannot be read, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// Upstream prints the character's number.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
    #[error("field label not supported: {0}")]
    NotSupported(String),
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldTerm {
    pub field: String,
    pub value: String,
    /// `!=`
    pub negated: bool,
}

/// Conditions that all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    pub const fn everything() -> FieldSelector {
        FieldSelector { terms: Vec::new() }
    }
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
    /// Refuses a field the kind does not offer.
    pub fn check(&self, supported: impl Fn(&str) -> bool) -> Result<(), FieldSelectorError> {
        match self.terms.iter().find(|t| !supported(&t.field)) {
            Some(term) => Err(FieldSelectorError::NotSupported(term.field.clone())),
            None => Ok(()),
        }
    }
    /// `field` gives a field's value, "" where the object has none.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> std::borrow::Cow<'a, str>) -> bool {
        self.terms.iter().all(|t| (field(&t.field) == t.value) != t.negated)
    }
    /// The value that `field` must have, where the selector asks for one.
    pub fn exact_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| !t.negated && t.field == field).map(|t| t.value.as_str())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(FieldSelectorError::Escape(format!("\\{c}"))),
                None => return Err(FieldSelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Makes `value` safe to stand in a field selector.
pub fn escape_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

impl FromStr for FieldSelector {
    type Err = FieldSelectorError;

    fn from_str(selector: &str) -> Result<FieldSelector, FieldSelectorError> {
        let mut parts = split_terms(selector);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let operator = part.char_indices().find_map(|(i, _)| {
                ["!=", "==", "="].into_iter().find(|op| part[i..].starts_with(op)).map(|op| (i, op))
            });
            let Some((at, operator)) = operator else {
                return Err(FieldSelectorError::Term {
                    selector: selector.to_owned(),
                    term: part.to_owned(),
                });
            };
            terms.push(FieldTerm {
                field: part[..at].to_owned(),
                value: unescape(&part[at + operator.len()..])?,
                negated: operator == "!=",
            });
        }
        Ok(FieldSelector { terms })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, t) in self.terms.iter().enumerate() {
            let (comma, op) = (if i > 0 { "," } else { "" }, if t.negated { "!=" } else { "=" });
            write!(f, "{comma}{}{op}{}", t.field, escape_value(&t.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_matches() {
        let s: FieldSelector = "spec.nodeName!=n,metadata.name==a\\,b,".parse().unwrap();
        assert_eq!(s.to_string(), "metadata.name=a\\,b,spec.nodeName!=n");
        let field = |f: &str| (if f == "metadata.name" { "a,b" } else { "" }).into();
        assert!(s.matches(field));
        assert!(!"spec.nodeName!=".parse::<FieldSelector>().unwrap().matches(field));
        assert_eq!(s.exact_value("metadata.name"), Some("a,b"));
        assert_eq!(s.exact_value("spec.nodeName"), None);
        assert!(s.check(|f| f == "metadata.name").is_err());
    }

    #[test]
    fn refuses_in_upstreams_words() {
        for (input, message) in [
            ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
            ("metadata.name=a,type", "invalid selector: 'metadata.name=a,type'; can't understand 'type'"),
            (
                "metadata.name in (a)",
                "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'",
            ),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
        ] {
            assert_eq!(input.parse::<FieldSelector>().unwrap_err().to_string(), message, "{input}");
        }
    }
}
