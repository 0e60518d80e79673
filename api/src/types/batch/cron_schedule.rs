//! The five fields of a cron schedule, with upstream's words for what is wrong with one.

/// Name, smallest, largest value, and names that stand for values.
type Field = (i64, i64, &'static [(&'static str, i64)]);

const MONTHS: &[(&str, i64)] = &[
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("may", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
];
const DAYS: &[(&str, i64)] =
    &[("sun", 0), ("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6)];
const FIELDS: [Field; 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
const MACROS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether the schedule names its own time zone (`TZ=`, `CRON_TZ=`).
pub fn has_zone(schedule: &str) -> bool {
    schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=")
}

/// Why `schedule` cannot be used.
pub fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let schedule = if has_zone(schedule) {
        let Some((_, rest)) = schedule.split_once(' ') else {
            return Err(format!("provided bad location {schedule}"));
        };
        rest.trim()
    } else {
        schedule
    };
    if schedule.starts_with('@') {
        return check_descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields
        .iter()
        .zip(FIELDS)
        .try_for_each(|(text, field)| text.split([',']).try_for_each(|range| check_range(range, field)))
}

fn check_descriptor(schedule: &str) -> Result<(), String> {
    if MACROS.contains(&schedule) {
        return Ok(());
    }
    match schedule.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => {
            Err(format!("failed to parse duration {schedule}: time: invalid duration {duration:?}"))
        }
        None => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

/// Numbers with units, as Go reads a duration.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let digits = &rest[..number];
        if digits.is_empty() || digits.parse::<f64>().is_err() {
            return false;
        }
        let tail = &rest[number..];
        let Some(unit) = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .find(|u| tail.starts_with(**u) && !(**u == "m" && tail.starts_with("ms")))
        else {
            return false;
        };
        rest = &tail[unit.len()..];
    }
    true
}

fn number(text: &str) -> Result<i64, String> {
    let value: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })?;
    if value < 0 {
        return Err(format!("negative number ({value}) not allowed: {text}"));
    }
    Ok(value)
}

fn value(text: &str, names: &[(&str, i64)]) -> Result<i64, String> {
    let lower = text.to_lowercase();
    names.iter().find(|(n, _)| *n == lower).map_or_else(|| number(text), |(_, v)| Ok(*v))
}

/// `number`, `number-number`, `*`, each with an optional `/step`.
fn check_range(text: &str, (min, max, names): Field) -> Result<(), String> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let single = ends.len() == 1;
    let (start, mut end);
    if ends[0] == "*" || ends[0] == "?" {
        (start, end) = (min, max);
    } else {
        start = value(ends[0], names)?;
        end = match ends.len() {
            1 => start,
            2 => value(ends[1], names)?,
            _ => return Err(format!("too many hyphens: {text}")),
        };
    }
    let step = match steps.len() {
        1 => 1,
        2 => {
            let step = number(steps[1])?;
            if single {
                end = max;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in
            ["* * * * *", "*/5 0-3 1,15 jan MON", "@hourly", "@every 1h30m", "0 0 ? * *", "TZ=UTC 0 0 * * *"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("@often", "unrecognized descriptor: @often"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
