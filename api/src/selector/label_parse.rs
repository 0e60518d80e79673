//! The query form of label selectors: `a=b,c!=d,e in (x,y),!f,g>1`.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::label::{LabelSelector, Operator, Requirement};
use super::syntax::{label_value_errors, qualified_name_errors};

/// Why a label selector cannot be read, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LabelSelectorError(pub(super) String);

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `in`, `notin` and every symbol: told from a word only where an operator may stand.
    Operator(Operator, &'static str),
    Not,
    Comma,
    Open,
    Close,
    End,
}

impl Token {
    /// The text of the token, as error messages quote it.
    fn text(&self) -> &str {
        match self {
            Token::Word(s) => s,
            Token::Operator(_, s) => s,
            Token::Not => "!",
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::End => "",
        }
    }
    /// A key or a value: `in` and `notin` are words there.
    fn word(&self) -> Option<&str> {
        match self {
            Token::Word(s) => Some(s),
            Token::Operator(Operator::In | Operator::NotIn, s) => Some(s),
            _ => None,
        }
    }
}

const SYMBOLS: &str = "=!(),><";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];
const OPERATORS_EXPECTED: &str = "in, notin, =, ==, !=, gt, lt";

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "(" => Token::Open,
        "==" => Token::Operator(Operator::DoubleEquals, "=="),
        "=" => Token::Operator(Operator::Equals, "="),
        "!=" => Token::Operator(Operator::NotEquals, "!="),
        ">" => Token::Operator(Operator::GreaterThan, ">"),
        "<" => Token::Operator(Operator::LessThan, "<"),
        _ => return None,
    })
}

fn tokens(input: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = input.split('\0').next().unwrap_or("");
    loop {
        rest = rest.trim_start_matches(SPACES);
        let Some(first) = rest.chars().next() else {
            out.push(Token::End);
            return out;
        };
        if SYMBOLS.contains(first) {
            let two = rest.get(..2).and_then(symbol);
            let end = if two.is_some() { 2 } else { 1 };
            out.push(two.or_else(|| symbol(&rest[..1])).expect("each of SYMBOLS is a token"));
            rest = &rest[end..];
        } else {
            let end = rest.find(|c| SYMBOLS.contains(c) || SPACES.contains(&c)).unwrap_or(rest.len());
            out.push(match &rest[..end] {
                "in" => Token::Operator(Operator::In, "in"),
                "notin" => Token::Operator(Operator::NotIn, "notin"),
                word => Token::Word(word.to_owned()),
            });
            rest = &rest[end..];
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser {
    /// The next token; the end repeats.
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Parsed<Vec<Requirement>> {
        let mut out = Vec::new();
        loop {
            let token = self.peek();
            if *token == Token::End {
                return Ok(out);
            }
            if token.word().is_none() && *token != Token::Not {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", token.text()));
            }
            out.push(self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
            match self.next() {
                Token::End => return Ok(out),
                Token::Comma => {
                    let token = self.peek();
                    if token.word().is_none() && *token != Token::Not {
                        return Err(format!("found '{}', expected: identifier after ','", token.text()));
                    }
                }
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let mut token = self.next();
        let absent = token == Token::Not;
        if absent {
            token = self.next();
        }
        let Some(key) = token.word() else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        let errors = qualified_name_errors(key);
        if !errors.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", errors.join("; ")));
        }
        let key = key.to_owned();
        if absent {
            return checked(key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return checked(key, Operator::Exists, BTreeSet::new());
        }
        match self.next() {
            Token::Operator(operator @ (Operator::In | Operator::NotIn), _) => {
                let values = self.values()?;
                checked(key, operator, values)
            }
            Token::Operator(operator, _) => {
                let value = self.exact_value()?;
                checked(key, operator, BTreeSet::from([value]))
            }
            other => Err(format!("found '{}', expected: {OPERATORS_EXPECTED}", other.text())),
        }
    }

    /// `(a,b,)`: an empty place is the empty value.
    fn values(&mut self) -> Parsed<BTreeSet<String>> {
        let open = self.next();
        if open != Token::Open {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let first = self.peek().clone();
        if first == Token::Close {
            self.next();
            return Ok(BTreeSet::from([String::new()]));
        }
        if first.word().is_none() && first != Token::Comma {
            return Err(format!("found '{}', expected: ',', ')' or identifier", first.text()));
        }
        let values = self.value_list()?;
        if self.next() != Token::Close {
            return Err(format!("found '{}', expected: ')'", first.text()));
        }
        Ok(values)
    }

    fn value_list(&mut self) -> Parsed<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        loop {
            let token = self.next();
            if let Some(word) = token.word() {
                values.insert(word.to_owned());
                match self.peek() {
                    Token::Comma => {}
                    Token::Close => return Ok(values),
                    other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                }
            } else if token == Token::Comma {
                if values.is_empty() {
                    values.insert(String::new());
                }
                match self.peek() {
                    Token::Close => {
                        values.insert(String::new());
                        return Ok(values);
                    }
                    Token::Comma => {
                        self.next();
                        values.insert(String::new());
                    }
                    _ => {}
                }
            } else {
                return Err(format!("found '{}', expected: ',', or identifier", token.text()));
            }
        }
    }

    fn exact_value(&mut self) -> Parsed<String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        match token.word() {
            Some(word) => Ok(word.to_owned()),
            None => Err(format!("found '{}', expected: identifier", token.text())),
        }
    }
}

/// A requirement whose key has been checked.
pub(super) fn checked(key: String, operator: Operator, values: BTreeSet<String>) -> Parsed<Requirement> {
    let mut errors = Vec::new();
    if values.is_empty() && matches!(operator, Operator::In | Operator::NotIn) {
        errors.push(
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".to_owned(),
        );
    }
    let numeric = matches!(operator, Operator::GreaterThan | Operator::LessThan);
    for (i, value) in values.iter().enumerate() {
        if numeric && value.parse::<i64>().is_err() {
            errors.push(format!(
                "values[{i}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
    }
    for (i, value) in values.iter().enumerate() {
        let wrong = label_value_errors(value);
        if !wrong.is_empty() {
            errors.push(format!("values[{i}][{key}]: Invalid value: {value:?}: {}", wrong.join("; ")));
        }
    }
    match errors.as_slice() {
        [] => Ok(Requirement { key, operator, values: values.into_iter().collect() }),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

impl FromStr for LabelSelector {
    type Err = LabelSelectorError;

    fn from_str(input: &str) -> Result<LabelSelector, LabelSelectorError> {
        let mut requirements =
            Parser { tokens: tokens(input), at: 0 }.selector().map_err(LabelSelectorError)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> Result<LabelSelector, LabelSelectorError> {
        s.parse()
    }

    #[test]
    fn reads_and_prints() {
        for (input, printed) in [
            ("", ""),
            ("a=b", "a=b"),
            (" a == b , !c ", "a==b,!c"),
            ("z in (y, x),a notin (),b!=", "a notin (),b!=,z in (x,y)"),
            ("n>1,m<9", "m<9,n>1"),
            ("in in (in,notin)", "in in (in,notin)"),
            ("a in (,b)", "a in (,b)"),
            ("a in (b,,c)", "a in (,b,c)"),
            ("example.com/x", "example.com/x"),
        ] {
            assert_eq!(parse(input).unwrap().to_string(), printed, "{input}");
        }
    }

    #[test]
    fn refuses_in_upstreams_words() {
        for (input, message) in [
            (
                "x>y",
                "unable to parse requirement: values[0]: Invalid value: \"y\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
            ("a,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=(b)", "unable to parse requirement: found '(', expected: identifier"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ] {
            assert_eq!(parse(input).unwrap_err().to_string(), message, "{input}");
        }
        let key = parse("-a=b").unwrap_err().to_string();
        assert!(
            key.starts_with(
                "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist"
            ),
            "{key}"
        );
        let value = parse("a=-b").unwrap_err().to_string();
        assert!(
            value.starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must"
            ),
            "{value}"
        );
    }

    #[test]
    fn matches_labels() {
        let labels = crate::value!({"app": "web", "tier": "1", "n": "5"});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app in (web,db),tier", true),
            ("app!=web", false),
            ("app notin (db)", true),
            ("missing!=x", true),
            ("!missing", true),
            ("missing", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
        ] {
            let parsed = parse(selector).unwrap();
            assert_eq!(parsed.matches_labels(&labels), expected, "{selector}");
            let pairs = [("app", "web"), ("tier", "1"), ("n", "5")];
            assert_eq!(parsed.matches_pairs(pairs.into_iter()), expected, "{selector}");
        }
        assert!(!LabelSelector::nothing().matches_labels(&labels));
        assert_eq!(parse("app in (web)").unwrap().exact_value("app"), Some("web"));
        assert!(LabelSelector::from_pairs([("app", "web")]).matches_labels(&labels));
    }
}
