//! Times and durations as Go reads and prints them, without a clock.
//!
//! A time is seconds and nanoseconds since 1970 UTC; `metav1.Time` prints whole seconds,
//! `MicroTime` six digits more.

/// A moment: seconds since 1970 UTC and the nanoseconds past them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub seconds: i64,
    pub nanos: u32,
}

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads RFC 3339 as `metav1.Time` does: any fraction, any offset.
///
/// # Errors
/// Go's message, as a client of upstream sees it.
pub fn parse_time(text: &str) -> Result<Moment, String> {
    parse(text, RFC3339, false)
}

/// Reads RFC 3339 as `metav1.MicroTime` does: six digits of fraction are required.
///
/// # Errors
/// Go's message, as a client of upstream sees it.
pub fn parse_micro_time(text: &str) -> Result<Moment, String> {
    parse(text, RFC3339_MICRO, true)
}

fn parse(text: &str, layout: &str, micro: bool) -> Result<Moment, String> {
    let fail = |rest: &str, element: &str| {
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
    };
    let range = |what: &str| format!("parsing time {text:?}: {what} out of range");
    let mut rest = text;
    let number = |rest: &mut &str, digits: usize, element: &str| -> Result<u32, String> {
        let ok = rest.len() >= digits && rest.as_bytes()[..digits].iter().all(u8::is_ascii_digit);
        if !ok {
            return Err(fail(rest, element));
        }
        let (head, tail) = rest.split_at(digits);
        *rest = tail;
        Ok(head.bytes().fold(0, |n, b| n * 10 + u32::from(b - b'0')))
    };
    let literal = |rest: &mut &str, c: &str| -> Result<(), String> {
        *rest = rest.strip_prefix(c).ok_or_else(|| fail(rest, c))?;
        Ok(())
    };
    let year = number(&mut rest, 4, "2006")?;
    literal(&mut rest, "-")?;
    let month = number(&mut rest, 2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(range("month"));
    }
    literal(&mut rest, "-")?;
    let day = number(&mut rest, 2, "02")?;
    literal(&mut rest, "T")?;
    let hour = number(&mut rest, 2, "15")?;
    if hour > 23 {
        return Err(range("hour"));
    }
    literal(&mut rest, ":")?;
    let minute = number(&mut rest, 2, "04")?;
    if minute > 59 {
        return Err(range("minute"));
    }
    literal(&mut rest, ":")?;
    let second = number(&mut rest, 2, "05")?;
    if second > 59 {
        return Err(range("second"));
    }
    let mut nanos = 0;
    let fraction = rest.strip_prefix(['.', ',']).map(|r| r.bytes().take_while(u8::is_ascii_digit).count());
    if micro && fraction != Some(6) {
        return Err(fail(rest, ".000000"));
    }
    if let Some(digits) = fraction.filter(|d| *d > 0) {
        for (i, b) in rest.bytes().skip(1).take(digits.min(9)).enumerate() {
            nanos += u32::from(b - b'0') * 10u32.pow(8 - i as u32);
        }
        rest = &rest[1 + digits..];
    }
    let mut offset = 0i64;
    if let Some(tail) = rest.strip_prefix('Z') {
        rest = tail;
    } else {
        let before = rest;
        let sign = match rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(fail(before, "Z07:00")),
        };
        let valid = rest.len() >= 6
            && rest.is_char_boundary(6)
            && rest.as_bytes()[3] == b':'
            && [1, 2, 4, 5].iter().all(|&i| rest.as_bytes()[i].is_ascii_digit());
        if !valid {
            return Err(fail(before, "Z07:00"));
        }
        let two =
            |i: usize| i64::from(rest.as_bytes()[i] - b'0') * 10 + i64::from(rest.as_bytes()[i + 1] - b'0');
        if two(1) > 24 || two(4) > 60 {
            return Err(range("time zone offset hour"));
        }
        offset = sign * (two(1) * 3600 + two(4) * 60);
        rest = &rest[6..];
    }
    if !rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {rest:?}"));
    }
    if day < 1 || day > days_in(year, month) {
        return Err(range("day"));
    }
    let days = days_from_civil(i64::from(year), month, day);
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - offset;
    Ok(Moment { seconds, nanos })
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (years + era * 400 + i64::from(month <= 2), month, day)
}

impl Moment {
    fn date_time(self) -> String {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(86_400));
        let s = self.seconds.rem_euclid(86_400);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
    /// `2026-01-02T03:04:05Z`.
    pub fn to_time(self) -> String {
        self.date_time() + "Z"
    }
    /// `2026-01-02T03:04:05.000006Z`.
    pub fn to_micro_time(self) -> String {
        format!("{}.{:06}Z", self.date_time(), self.nanos / 1000)
    }
}

const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a Go duration (`1h30m`, `-1.5s`) as nanoseconds.
///
/// # Errors
/// Go's message.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut after = &rest[whole..];
        let fraction =
            after.strip_prefix('.').map(|r| &r[..r.bytes().take_while(u8::is_ascii_digit).count()]);
        if whole == 0 && fraction.is_none_or(str::is_empty) {
            return Err(invalid());
        }
        if let Some(f) = fraction {
            after = &after[1 + f.len()..];
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let unit = &after[..end];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(u, _)| *u == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let digits: i128 = if whole == 0 { 0 } else { rest[..whole].parse().map_err(|_| invalid())? };
        total = digits.checked_mul(*scale).and_then(|n| total.checked_add(n)).ok_or_else(invalid)?;
        let mut place = *scale;
        for b in fraction.unwrap_or_default().bytes().take(18) {
            place /= 10;
            total += i128::from(b - b'0') * place;
        }
        rest = &after[end..];
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Prints nanoseconds as Go does: `1h30m0s`, `1.5s`, `100ms`, `0s`.
pub fn print_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let decimal = |whole: u64, part: u64, digits: usize, unit: &str| {
        if part == 0 {
            return format!("{whole}{unit}");
        }
        let fraction = format!("{part:0digits$}");
        format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
    };
    let text = if n < 1_000 {
        format!("{n}ns")
    } else if n < 1_000_000 {
        decimal(n / 1_000, n % 1_000, 3, "µs")
    } else if n < 1_000_000_000 {
        decimal(n / 1_000_000, n % 1_000_000, 6, "ms")
    } else {
        let total = n / 1_000_000_000;
        let seconds = decimal(total % 60, n % 1_000_000_000, 9, "s");
        match (total / 3600, total / 60 % 60) {
            (0, 0) => seconds,
            (0, m) => format!("{m}m{seconds}"),
            (h, m) => format!("{h}h{m}m{seconds}"),
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed() {
        for (text, printed) in [
            ("2026-11-21T02:03:04Z", "2026-11-21T02:03:04Z"),
            ("2026-11-21T02:03:04.999999999Z", "2026-11-21T02:03:04Z"),
            ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse_time(text).unwrap().to_time(), printed);
        }
        let micro = parse_micro_time("2026-11-21T02:03:04.000120Z").unwrap();
        assert_eq!(micro.to_micro_time(), "2026-11-21T02:03:04.000120Z");
    }

    #[test]
    fn wrong_times_get_go_messages() {
        assert_eq!(
            parse_micro_time("yesterday").unwrap_err(),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "yesterday" as "2006""#
        );
        assert!(
            parse_micro_time("2026-11-21T02:03:04Z")
                .unwrap_err()
                .ends_with(r#"cannot parse "Z" as ".000000""#)
        );
        assert_eq!(
            parse_time("2026-13-21T02:03:04Z").unwrap_err(),
            r#"parsing time "2026-13-21T02:03:04Z": month out of range"#
        );
        assert_eq!(
            parse_time("2026-02-30T02:03:04Z").unwrap_err(),
            r#"parsing time "2026-02-30T02:03:04Z": day out of range"#
        );
        assert!(parse_time("2026-02-03T02:03:04+1é00").is_err());
        assert!(parse_time("").is_err());
    }

    #[test]
    fn durations_are_gos() {
        for (text, printed) in [
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("0", "0s"),
            ("-100ms", "-100ms"),
            ("1h", "1h0m0s"),
            ("1500us", "1.5ms"),
            ("3ns", "3ns"),
            ("61s", "1m1s"),
        ] {
            assert_eq!(print_duration(parse_duration(text).unwrap()), printed);
        }
        assert_eq!(parse_duration("5").unwrap_err(), r#"time: missing unit in duration "5""#);
        assert_eq!(parse_duration("5x").unwrap_err(), r#"time: unknown unit "x" in duration "5x""#);
        assert_eq!(parse_duration("x").unwrap_err(), r#"time: invalid duration "x""#);
    }
}
