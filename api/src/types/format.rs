//! Formats of names and keys, with the messages clients read. Each function gives the list of
//! what is wrong, empty when nothing is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub type Messages = Vec<String>;

pub const DNS_LABEL_MAX: usize = 63;
pub const DNS_SUBDOMAIN_MAX: usize = 253;
const LABEL_PART_MAX: usize = 63;
const PORT_NAME_MAX: usize = 15;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_SUBDOMAIN_FMT: &str =
    r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const DNS_1035_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const KEY_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `rule (e.g. 'a',  or 'b', regex used for validation is 'fmt')`
pub fn regex_error(rule: &str, fmt: &str, examples: &[&str]) -> String {
    let mut out = String::from(rule);
    if examples.is_empty() {
        out.push_str(&format!(" (regex used for validation is '{fmt}')"));
        return out;
    }
    out.push_str(" (e.g. ");
    for (i, example) in examples.iter().enumerate() {
        if i > 0 {
            out.push_str(" or ");
        }
        out.push_str(&format!("'{example}', "));
    }
    out.push_str(&format!("regex used for validation is '{fmt}')"));
    out
}

pub fn max_characters(max: usize) -> String {
    format!("must be no more than {max} characters")
}
fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}
pub fn between(min: i64, max: i64) -> String {
    format!("must be between {min} and {max}, inclusive")
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn matches_label(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty()
        && lower_alnum(b[0])
        && lower_alnum(b[b.len() - 1])
        && b.iter().all(|&c| lower_alnum(c) || c == b'-')
}
fn matches_subdomain(s: &str) -> bool {
    s.split('.').all(matches_label)
}
fn matches_underscore_label(s: &str) -> bool {
    let rest = s.strip_prefix('_').unwrap_or(s).as_bytes();
    !rest.is_empty()
        && lower_alnum(rest[0])
        && lower_alnum(rest[rest.len() - 1])
        && rest.iter().all(|&c| lower_alnum(c) || c == b'-' || c == b'_')
}

/// RFC 1123 label.
pub fn dns_label(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > DNS_LABEL_MAX {
        out.push(max_characters(DNS_LABEL_MAX));
    }
    if !matches_label(s) {
        if matches_subdomain(s) {
            out.push("must not contain dots".to_owned());
        } else {
            out.push(regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FMT,
                &["my-name", "123-abc"],
            ));
        }
    }
    out
}

/// RFC 1123 subdomain.
pub fn dns_subdomain(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > DNS_SUBDOMAIN_MAX {
        out.push(max_characters(DNS_SUBDOMAIN_MAX));
    }
    if !matches_subdomain(s) {
        out.push(subdomain_rule());
    }
    out
}

fn subdomain_rule() -> String {
    regex_error(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        SUBDOMAIN_FMT,
        &["example.com"],
    )
}

/// A subdomain whose labels may hold underscores, as DNS search paths may.
pub fn dns_subdomain_underscore(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > DNS_SUBDOMAIN_MAX {
        out.push(max_characters(DNS_SUBDOMAIN_MAX));
    }
    if !s.split('.').all(matches_underscore_label) {
        out.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            UNDERSCORE_SUBDOMAIN_FMT,
            &["example.com"],
        ));
    }
    out
}

/// `*.` and a subdomain.
pub fn wildcard_subdomain(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > DNS_SUBDOMAIN_MAX {
        out.push(max_characters(DNS_SUBDOMAIN_MAX));
    }
    if !s.strip_prefix("*.").is_some_and(matches_subdomain) {
        out.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN_FMT}"),
            &["*.example.com"],
        ));
    }
    out
}

/// RFC 1035 label.
pub fn dns_1035_label(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > DNS_LABEL_MAX {
        out.push(max_characters(DNS_LABEL_MAX));
    }
    if !(matches_label(s) && s.as_bytes()[0].is_ascii_lowercase()) {
        out.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            DNS_1035_FMT,
            &["my-name", "abc-123"],
        ));
    }
    out
}

/// A name that is one segment of a URL path.
pub fn path_segment(s: &str) -> Messages {
    match s {
        "." => return vec!["may not be '.'".to_owned()],
        ".." => return vec!["may not be '..'".to_owned()],
        _ => {}
    }
    ["/", "%"].into_iter().filter(|c| s.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

fn matches_key(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty()
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
        && b.iter().all(|&c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// A label key, also called a qualified name: an optional DNS prefix and `/`, and a name.
pub fn label_key(s: &str) -> Messages {
    let mut out = Vec::new();
    let mut parts = s.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > DNS_SUBDOMAIN_MAX {
                    out.push(format!("prefix part {}", max_bytes(DNS_SUBDOMAIN_MAX)));
                }
                if !matches_subdomain(prefix) {
                    out.push(format!("prefix part {}", subdomain_rule()));
                }
            }
            name
        }
        _ => {
            let rule = regex_error(KEY_RULE, KEY_FMT, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a valid label key {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_PART_MAX {
        out.push(format!("name part {}", max_bytes(LABEL_PART_MAX)));
    }
    if !matches_key(name) {
        out.push(format!("name part {}", regex_error(KEY_RULE, KEY_FMT, &["MyName", "my.name", "123-abc"])));
    }
    out
}

pub fn label_value(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > LABEL_PART_MAX {
        out.push(max_bytes(LABEL_PART_MAX));
    }
    if !s.is_empty() && !matches_key(s) {
        out.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({KEY_FMT})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    out
}

/// A key of a ConfigMap's or Secret's data.
pub fn config_key(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > DNS_SUBDOMAIN_MAX {
        out.push(max_characters(DNS_SUBDOMAIN_MAX));
    }
    if s.is_empty() || !s.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.')) {
        out.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    if s == "." {
        out.push("must not be '.'".to_owned());
    } else if s == ".." {
        out.push("must not be '..'".to_owned());
    } else if s.starts_with("..") {
        out.push("must not start with '..'".to_owned());
    }
    out
}

/// An environment variable: printable ASCII but `=`.
pub fn env_name(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.is_empty() {
        out.push("environment variable name must be non-empty".to_owned());
    }
    if s.chars().any(|c| !(c == ' ' || c.is_ascii_graphic()) || c == '=') {
        out.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    out
}

pub fn c_identifier(s: &str) -> Messages {
    let b = s.as_bytes();
    if !b.is_empty()
        && (b[0].is_ascii_alphabetic() || b[0] == b'_')
        && b.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'_')
    {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

pub fn http_header(s: &str) -> Messages {
    if !s.is_empty() && s.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

pub fn percent(s: &str) -> Messages {
    if s.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit())) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

pub fn port_number(port: i64) -> Messages {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![between(1, 65535)] }
}

pub fn port_name(s: &str) -> Messages {
    let mut out = Vec::new();
    if s.len() > PORT_NAME_MAX {
        out.push(max_characters(PORT_NAME_MAX));
    }
    if s.is_empty() || !s.bytes().all(|c| lower_alnum(c) || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if s.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if s.starts_with('-') || s.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A user or group ID.
pub fn unix_id(id: i64) -> Messages {
    if (0..=i64::from(i32::MAX)).contains(&id) { Vec::new() } else { vec![between(0, i32::MAX.into())] }
}

/// Reads an address as Go's older parser did: leading zeros in IPv4 are decimal.
pub fn parse_ip(s: &str) -> Option<IpAddr> {
    if let Ok(ip) = s.parse::<IpAddr>() {
        return Some(ip);
    }
    let mut octets = [0u8; 4];
    let mut parts = s.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 16 || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or_else(|e| if part.bytes().all(|c| c == b'0') { Ok(0) } else { Err(e) })
            .ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A CIDR: the address as written, and the prefix length.
pub fn parse_cidr(s: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = s.split_once('/')?;
    let ip = parse_ip(ip)?;
    if bits.is_empty() || !bits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let bits: u8 = bits.parse().ok()?;
    (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, bits))
}

pub const INVALID_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub const INVALID_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

pub fn ip(s: &str) -> Messages {
    if parse_ip(s).is_some() { Vec::new() } else { vec![INVALID_IP.to_owned()] }
}
pub fn cidr(s: &str) -> Messages {
    if parse_cidr(s).is_some() { Vec::new() } else { vec![INVALID_CIDR.to_owned()] }
}

/// Addresses that make no sense as an endpoint or an external IP.
pub fn non_special_ip(s: &str) -> Messages {
    let Some(ip) = parse_ip(s) else {
        return vec!["must be a valid IP address".to_owned()];
    };
    let ip = match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        v4 => v4,
    };
    let mut out = Vec::new();
    if ip.is_unspecified() {
        out.push(format!("may not be unspecified ({s})"));
    }
    if ip.is_loopback() {
        out.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (in_fe80(&v6), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        out.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if link_local_multicast {
        out.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    out
}

fn in_fe80(ip: &Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// `acme.io/foo`: a subdomain, `/`, and a path. Gives (value, message) pairs.
pub fn domain_prefixed_path(s: &str) -> Vec<(String, String)> {
    let Some((host, path)) = s.split_once('/').filter(|(h, p)| !h.is_empty() && !p.is_empty()) else {
        return vec![(s.to_owned(), "must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned())];
    };
    let mut out: Vec<_> = dns_subdomain(host).into_iter().map(|m| (host.to_owned(), m)).collect();
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c);
    if !path.bytes().all(ok) {
        out.push((path.to_owned(), regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[])));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_upstream_does() {
        assert!(dns_label("a-1").is_empty());
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert!(dns_1035_label("1a")[0].starts_with("a DNS-1035 label"));
        assert!(label_key("example.com/a_b").is_empty());
        assert_eq!(label_key("/a"), ["prefix part must be non-empty"]);
        assert_eq!(label_value(&"v".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
        assert_eq!(port_name("BAD!").len(), 2);
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_ip("010.0.0.01"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(parse_ip("1.2.3"), None);
        assert_eq!(parse_cidr("10.0.0.0/33"), None);
        assert_eq!(parse_cidr("::/64").map(|c| c.1), Some(64));
        assert_eq!(non_special_ip("127.0.0.1").len(), 1);
        assert!(non_special_ip("10.1.2.3").is_empty());
    }
}
