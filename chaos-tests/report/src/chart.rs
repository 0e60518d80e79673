//! The availability of a run as a picture: writes acknowledged over time, faults as bands behind them,
//! elections as marks below.

use std::fmt::Write;
use std::time::Duration;

use crate::figures::{Report, What};
use crate::page::escape;

const WIDTH: f64 = 1_160.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 40.0;
/// More points than that are not seen.
const BUCKETS_MAX: u128 = 1_000;
const FINEST_MS: u128 = 100;
const TIME_LABELS: u32 = 10;

/// Length of one bucket: a tenth of a second, or more of them for a long run.
pub(crate) fn bucket(lasted: Duration) -> Duration {
    let ms = lasted.as_millis().div_ceil(BUCKETS_MAX).div_ceil(FINEST_MS).max(1) * FINEST_MS;
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// Calls that ended so, per bucket.
fn counts(report: &Report, bucket: Duration, ok: bool, which: impl Fn(What) -> bool) -> Vec<u32> {
    let buckets = report.lasted.as_millis().div_ceil(bucket.as_millis()).max(1) as usize;
    let mut counts = vec![0; buckets];
    for sample in report.samples.iter().filter(|sample| sample.ok == ok && which(sample.what)) {
        let place = (sample.ended.as_millis() / bucket.as_millis()) as usize;
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    counts
}

pub(crate) fn availability(report: &Report) -> String {
    let bucket = bucket(report.lasted);
    let all = counts(report, bucket, true, What::is_write);
    let api = counts(report, bucket, true, |what| what == What::ApiWrite);
    let failed = counts(report, bucket, false, What::is_write);
    let most = f64::from(all.iter().copied().max().unwrap_or(1).max(1));
    let lasted = report.lasted.as_secs_f64().max(0.001);
    let x = |time: Duration| LEFT + time.as_secs_f64() / lasted * WIDTH;
    let y = |count: f64| TOP + HEIGHT - count / most * HEIGHT;
    let mut svg = String::new();
    let (width, height) = (LEFT + WIDTH + 10.0, TOP + HEIGHT + BOTTOM);
    let _ = write!(
        svg,
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"acknowledged writes over time\">"
    );
    bands(&mut svg, report, &x);
    area(&mut svg, &all, bucket, &x, &y, "all");
    if api != all {
        area(&mut svg, &api, bucket, &x, &y, "api");
    }
    failures(&mut svg, &failed, bucket, &x);
    let floor = TOP + HEIGHT;
    for election in &report.elections {
        let at = x(election.at);
        let _ = write!(
            svg,
            "<path class=\"election\" d=\"M{at:.1} {floor:.0}l-4 9h8z\"><title>{:.1} s: {} leads in term {}</title></path>",
            election.at.as_secs_f64(),
            escape(&election.leader),
            election.term
        );
    }
    axes(&mut svg, most, lasted, &x, &y);
    svg.push_str("</svg>");
    svg
}

fn bands(svg: &mut String, report: &Report, x: &impl Fn(Duration) -> f64) {
    for (n, step) in report.steps.iter().enumerate() {
        let what: Vec<String> =
            step.what.iter().map(|deed| format!("{}: {}", deed.name, deed.whom)).collect();
        let (from, to, well) = (x(step.began), x(step.ended), x(step.over()));
        let _ = write!(svg, "<g><title>{}. {}</title>", n + 1, escape(&what.join("; ")));
        for (class, from, to) in [("fault", from, to), ("healing", to, well)] {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{HEIGHT}\"/>",
                (to - from).max(1.0)
            );
        }
        let _ =
            write!(svg, "<text class=\"number\" x=\"{from:.1}\" y=\"{}\">{}</text></g>", TOP - 6.0, n + 1);
    }
}

fn area(
    svg: &mut String,
    counts: &[u32],
    bucket: Duration,
    x: &impl Fn(Duration) -> f64,
    y: &impl Fn(f64) -> f64,
    class: &str,
) {
    let mut path = format!("M{LEFT} {:.1}", y(0.0));
    let mut at = Duration::ZERO;
    for count in counts {
        let _ = write!(path, "L{:.1} {:.1}", x(at), y(f64::from(*count)));
        at += bucket;
        let _ = write!(path, "H{:.1}", x(at).min(LEFT + WIDTH));
    }
    let _ = write!(svg, "<path class=\"{class}\" d=\"{path}V{:.1}Z\"/>", y(0.0));
}

/// A mark on the ceiling for each bucket in which a write was not acknowledged.
fn failures(svg: &mut String, failed: &[u32], bucket: Duration, x: &impl Fn(Duration) -> f64) {
    let mut at = Duration::ZERO;
    for count in failed {
        let from = x(at);
        at += bucket;
        if *count > 0 {
            let _ = write!(
                svg,
                "<rect class=\"failed\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"5\"><title>{count} not acknowledged</title></rect>",
                (x(at).min(LEFT + WIDTH) - from).max(1.0)
            );
        }
    }
}

fn axes(svg: &mut String, most: f64, lasted: f64, x: &impl Fn(Duration) -> f64, y: &impl Fn(f64) -> f64) {
    for share in [0.0, 0.5, 1.0] {
        let (count, at) = (most * share, y(most * share));
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {at:.1}h{WIDTH}\"/><text class=\"label\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{count:.0}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for n in 0..=TIME_LABELS {
        let seconds = lasted * f64::from(n) / f64::from(TIME_LABELS);
        let at = x(Duration::from_secs_f64(seconds));
        let _ = write!(
            svg,
            "<text class=\"label\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.0}\">{seconds:.0} s</text>",
            TOP + HEIGHT + 28.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_tenth_of_a_second_or_several() {
        assert_eq!(bucket(Duration::from_secs(10)), Duration::from_millis(100));
        assert_eq!(bucket(Duration::from_secs(600)), Duration::from_millis(600));
        assert_eq!(bucket(Duration::ZERO), Duration::from_millis(100));
    }

    #[test]
    fn what_was_not_acknowledged_is_seen() {
        let report = crate::figures::tests::example();
        let done = counts(&report, Duration::from_millis(100), true, What::is_write);
        assert_eq!((done[0], done[39], done[40], done[64]), (1, 1, 0, 0));
        assert_eq!(done.iter().sum::<u32>(), 72);
        let failed = counts(&report, Duration::from_millis(100), false, What::is_write);
        assert_eq!((failed[62], failed.iter().sum::<u32>()), (1, 1));
        let svg = availability(&report);
        assert!(svg.contains("1. kill: master-1") && svg.contains("master-2 leads in term 2"), "{svg}");
        assert_eq!(svg.matches("class=\"failed\"").count(), 1, "{svg}");
    }
}
