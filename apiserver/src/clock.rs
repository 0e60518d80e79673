//! Wall-clock time as objects carry it.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// By how many seconds this process's clock goes before the machine's.
type Shift = Box<dyn Fn() -> i64 + Send + Sync>;

static SHIFT_S: OnceLock<Shift> = OnceLock::new();

/// Has the clock of this process go before the machine's by as many seconds as `shift` says whenever
/// it is asked; the first that is set stays.
pub(crate) fn go_by(shift: Shift) {
    let _ = SHIFT_S.set(shift);
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let machine = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    machine + SHIFT_S.get().map_or(0, |shift| shift())
}

/// RFC 3339 in UTC with whole seconds: `2026-11-21T00:06:49Z`.
pub(crate) fn now() -> String {
    rfc3339(unix_seconds())
}

/// `seconds` since 1970 as RFC 3339.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a civil date, by Howard Hinnant's algorithm.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_part = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_part + 2) / 5 + 1;
    let month = if month_part < 10 { month_part + 3 } else { month_part - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Seconds since 1970 of an RFC 3339 time in UTC; `None` for anything else.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.split('.').next()?.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_219_609, "2026-11-21T00:06:49Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
            assert_eq!(parse_rfc3339(text), Some(seconds));
        }
        assert_eq!(parse_rfc3339("2026-11-21T00:06:49.123456Z"), Some(1_795_219_609));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
