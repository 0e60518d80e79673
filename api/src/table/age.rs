//! Times and ages as Tables show them.

use crate::quantity::Quantity;
use crate::tree::Value;

/// The instant a Table is made at: seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub i64);

/// Seconds since 1970 of an RFC 3339 text.
pub(super) fn seconds(time: &Value) -> Option<i64> {
    time.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

impl Now {
    /// The age of a time; `<unknown>` without one.
    pub(super) fn since(self, time: &Value) -> String {
        match seconds(time) {
            Some(then) => human_duration(self.0 - then),
            None => "<unknown>".to_owned(),
        }
    }
    /// The age of an object.
    pub(super) fn age(self, object: &Value) -> Value {
        self.since(&object["metadata"]["creationTimestamp"]).into()
    }
}

/// `59s`, `3m20s`, `12m`, `5h10m`, `2d3h`, `40d`, `2y10d`: two units while the first is small.
pub fn human_duration(seconds: i64) -> String {
    let two = |first: i64, unit: &str, second: i64, small: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{small}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        // Clocks differ a little.
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{days}d"),
        _ if hours < 24 * 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// The text of a quantity, canonical; an absent one is zero.
pub(super) fn quantity(value: &Value) -> String {
    Quantity::from_value(value).map_or_else(|_| value.str_or_empty().to_owned(), |q| q.to_string())
}

/// The text, or a placeholder where it is absent or empty.
pub(super) fn text_or<'a>(value: &'a Value, placeholder: &'a str) -> &'a str {
    match value.str_or_empty() {
        "" => placeholder,
        text => text,
    }
}

/// The number, zero where it is absent.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// `a,b,c`, or `a,b,c + 2 more...` past `max`.
pub(super) fn some_of(list: &[String], max: usize, separator: &str) -> String {
    let shown = list.len().min(max);
    let text = list[..shown].join(separator);
    if list.len() > max { format!("{text} + {} more...", list.len() - max) } else { text }
}

/// `k=v,l=w` in order, `<none>` for none.
pub(super) fn labels(map: &Value) -> String {
    let mut pairs: Vec<String> =
        map.members().iter().map(|(k, v)| format!("{k}={}", v.str_or_empty())).collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 300, "3h5m"),
            (9 * 3600 + 300, "9h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86400, "8d"),
            (800 * 86400, "2y70d"),
            (10 * 365 * 86400, "10y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
