//! Moments as operators write them: a time with its zone, a distance from now, a revision.

use trireme_api::time::{Moment, parse_time};

/// A point in the cluster's past, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// Milliseconds before now.
    Ago(i64),
    Revision(i64),
}

/// A point in the cluster's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    Revision(i64),
}

impl When {
    pub(super) fn from(self, now_ms: i64) -> At {
        match self {
            Self::Time(ms) => At::Time(ms),
            Self::Ago(ms) => At::Time(now_ms.saturating_sub(ms)),
            Self::Revision(revision) => At::Revision(revision),
        }
    }
}

/// # Errors
/// What was written and what would be right.
pub(super) fn parse(text: &str) -> Result<When, String> {
    let wrong = || {
        format!(
            "{text:?}: a time such as 2026-11-20T10:42:00Z, a distance from now such as -2h or \"10m ago\", \
             or revision:N is expected"
        )
    };
    let trimmed = text.trim();
    if trimmed == "now" {
        return Ok(When::Ago(0));
    }
    if let Some(revision) = trimmed.strip_prefix("revision:") {
        let revision = revision.parse().ok().filter(|revision: &i64| *revision > 0);
        return revision.map(When::Revision).ok_or_else(wrong);
    }
    let distance = trimmed.strip_suffix("ago").map_or(trimmed, str::trim_end);
    let distance = distance.strip_prefix('-').unwrap_or(distance);
    if let Some(ms) = distance_ms(distance) {
        return Ok(When::Ago(ms));
    }
    match parse_time(trimmed) {
        Ok(moment) => Ok(When::Time(ms(moment))),
        Err(_) if parse_time(&format!("{trimmed}Z")).is_ok() => Err(format!(
            "{text:?} has no zone: {trimmed}Z is that time in UTC, {trimmed}+01:00 an hour east of it"
        )),
        Err(_) => Err(wrong()),
    }
}

/// `1h30m`, `10m`, `2d`: milliseconds.
fn distance_ms(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        let unit_ms = match rest[digits..].chars().next()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit_ms)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

/// Milliseconds since the Unix epoch.
pub(super) fn ms(moment: Moment) -> i64 {
    moment.seconds.saturating_mul(1000).saturating_add(i64::from(moment.nanos / 1_000_000))
}

/// RFC 3339 in UTC; parts of a second only where there are any.
pub(super) fn show(ms: i64) -> String {
    let nanos = u32::try_from(ms.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    let text = Moment { seconds: ms.div_euclid(1000), nanos }.to_time();
    if nanos == 0 {
        return text;
    }
    format!("{}.{:03}Z", text.trim_end_matches('Z'), nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_distances_and_revisions() {
        let check = |text, want| assert_eq!(parse(text), Ok(want), "{text}");
        check("1970-01-01T00:00:10Z", When::Time(10_000));
        check("1970-01-01T01:00:10.25+01:00", When::Time(10_250));
        check("-2h", When::Ago(7_200_000));
        check("2h", When::Ago(7_200_000));
        check("10m ago", When::Ago(600_000));
        check(" 1d2h3m4s ago ", When::Ago(93_784_000));
        check("now", When::Ago(0));
        check("revision:17", When::Revision(17));
        assert_eq!(When::Ago(5).from(7), At::Time(2));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in
            ["", "-", "ago", "yesterday", "2w", "h", "1h2", "revision:", "revision:0", "revision:-1", "12"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains("is expected") && error.starts_with(&format!("{text:?}")), "{error}");
        }
        assert!(parse("99999999999999999999d").is_err());
        assert!(parse("9223372036854775807d").is_err());
        let zone = parse("2026-11-20T10:42:00").unwrap_err();
        assert!(zone.contains("no zone") && zone.contains("2026-11-20T10:42:00Z"), "{zone}");
    }

    #[test]
    fn times_are_shown_as_they_are_read() {
        for text in ["2026-11-20T10:42:00Z", "2026-11-20T10:42:00.007Z", "1969-12-31T23:59:59.500Z"] {
            assert_eq!(parse(text).map(|when| show(matches_time(when))).unwrap(), text);
        }
    }

    fn matches_time(when: When) -> i64 {
        match when.from(0) {
            At::Time(ms) => ms,
            At::Revision(_) => panic!("{when:?}"),
        }
    }
}
