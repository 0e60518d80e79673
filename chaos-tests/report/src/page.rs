//! A run as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write;

use crate::chart;
use crate::figures::{Note, PHASES, Report, VIOLATIONS_SHOWN_MAX, Verdict, What, ms};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5d6b7a;--line:#d8dee5;--page:#fff;--good:#177245;--bad:#b3261e;
--fault:#f2b8b5;--healing:#fbe3a5;--all:#2f6fab;--api:#7b4fa3}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#9aa7b4;--line:#39434e;--page:#14191f;--good:#5fc08f;
--bad:#f2857d;--fault:#6e2a27;--healing:#5c4a14;--all:#5c9bd6;--api:#b18ad6}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1240px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.4rem 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500}td.n,th.n{text-align:right}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}svg{width:100%;height:auto;min-width:700px}
.fault{fill:var(--fault)}.healing{fill:var(--healing)}.all{fill:var(--all);fill-opacity:.75}.api{fill:var(--api)}
.failed{fill:var(--bad)}
.axis{stroke:var(--line);fill:none}.label,.number{font:11px system-ui,sans-serif;fill:var(--soft)}.election{fill:var(--ink)}
.key i{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 1rem;vertical-align:-1px}
";

/// Text as text, wherever in a page it stands.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Those that a page may not have.
            '\0'..='\u{8}' | '\u{b}'..='\u{1f}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

pub(crate) fn render(report: &Report) -> String {
    let mut page = String::new();
    let (class, verdict) =
        if report.passed() { ("good", "every promise was kept") } else { ("bad", "a promise was broken") };
    let title = escape(&report.title);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Trireme: {title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}: <span class=\"{class}\">{verdict}</span></h1>\n",
    );
    for line in &report.lead {
        let _ = writeln!(page, "<p>{}</p>", escape(line));
    }
    let _ = write!(page, "<p class=\"soft\">{}", escape(&report.fine_print));
    if !report.repeat.is_empty() {
        let _ = write!(page, " \u{b7} again: <code>{}</code>", escape(&report.repeat));
    }
    page.push_str("</p>\n");
    timeline(&mut page, report);
    promises(&mut page, report);
    latencies(&mut page, report);
    faults(&mut page, report);
    elections(&mut page, report);
    for note in &report.notes {
        rows(&mut page, note);
    }
    page.push_str("</body></html>\n");
    page
}

fn timeline(page: &mut String, report: &Report) {
    let made = |what| report.kinds().iter().any(|(made, _)| *made == what);
    let areas = if made(What::StoreWrite) && made(What::ApiWrite) {
        "<i style=\"background:var(--all)\"></i>store and API\
         <i style=\"background:var(--api)\"></i>API alone"
    } else {
        "<i style=\"background:var(--all)\"></i>acknowledged"
    };
    let _ = write!(
        page,
        "<h2>Writes acknowledged per {} ms</h2>\n<div class=\"wide\">{}</div>\n\
         <p class=\"key soft\">{areas}\
         <i style=\"background:var(--bad)\"></i>not acknowledged\
         <i style=\"background:var(--fault)\"></i>fault, numbered as below\
         <i style=\"background:var(--healing)\"></i>taken back, not yet healed \u{2003}\u{25b2} election</p>\n",
        chart::bucket(report.lasted).as_millis(),
        chart::availability(report)
    );
}

fn promises(page: &mut String, report: &Report) {
    page.push_str("<h2>Promises</h2>\n<table>");
    for promise in &report.promises {
        let (class, verdict) = match promise.verdict() {
            Verdict::Kept => ("good", "kept"),
            Verdict::Broken => ("bad", "broken"),
            Verdict::NothingToJudge => ("soft", "nothing to judge"),
        };
        let _ = write!(page, "<tr><td class=\"{class}\">{verdict}</td><td>{}", escape(&promise.title()));
        let shown = VIOLATIONS_SHOWN_MAX;
        for violation in promise.violations.iter().take(shown) {
            let _ = write!(page, "<br><code>{}</code>", escape(violation));
        }
        if promise.violations.len() > shown {
            let _ = write!(page, "<br>and {} more", promise.violations.len() - shown);
        }
        page.push_str("</td></tr>\n");
    }
    page.push_str("</table>\n");
}

fn latencies(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Latencies, as clients saw them (ms)</h2>\n<div class=\"wide\"><table><tr><th></th><th></th>\
         <th class=\"n\">done</th><th class=\"n\">not</th><th class=\"n\">p50</th><th class=\"n\">p99</th>\
         <th class=\"n\">longest</th></tr>\n",
    );
    for (what, name) in report.kinds() {
        for (phase, when) in PHASES {
            let latency = report.latency(what, phase);
            let _ = writeln!(
                page,
                "<tr><td>{name}</td><td>{when}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{:.1}</td><td class=\"n\">{:.1}</td><td class=\"n\">{:.0}</td></tr>",
                latency.count,
                latency.failed,
                ms(latency.p50),
                ms(latency.p99),
                ms(latency.max)
            );
        }
    }
    page.push_str("</table></div>\n");
}

fn faults(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Faults</h2>\n<div class=\"wide\"><table><tr><th class=\"n\">no.</th><th class=\"n\">at s</th><th>what</th>\
         <th>whom</th><th class=\"n\">lasted s</th><th class=\"n\">healed after s</th>",
    );
    let kinds = report.kinds();
    let writes = || kinds.iter().filter(|(what, _)| what.is_write());
    for (_, name) in writes() {
        let _ = write!(page, "<th class=\"n\">longest without a {name}, s</th>");
    }
    page.push_str("</tr>\n");
    for (n, step) in report.steps.iter().enumerate() {
        let join = |parts: Vec<String>| parts.join("<br>");
        let healed = match step.healed {
            Some(healed) => format!("{:.1}", healed.saturating_sub(step.ended).as_secs_f64()),
            None => "<span class=\"bad\">never</span>".to_owned(),
        };
        let _ = write!(
            page,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{:.1}</td><td>{}</td><td>{}</td><td class=\"n\">{:.1}</td>\
             <td class=\"n\">{healed}</td>",
            n + 1,
            step.began.as_secs_f64(),
            join(step.what.iter().map(|deed| escape(&deed.words)).collect()),
            join(step.what.iter().map(|deed| escape(&deed.whom)).collect()),
            step.ended.saturating_sub(step.began).as_secs_f64()
        );
        for (what, _) in writes() {
            let gap = report.longest_gap(*what, step.began, step.over());
            let _ = write!(page, "<td class=\"n\">{:.1}</td>", gap.as_secs_f64());
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn elections(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Leaders</h2>\n<table><tr><th class=\"n\">at s</th><th class=\"n\">term</th><th>leader</th></tr>\n",
    );
    for election in &report.elections {
        let _ = writeln!(
            page,
            "<tr><td class=\"n\">{:.1}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            election.at.as_secs_f64(),
            election.term,
            escape(&election.leader)
        );
    }
    page.push_str("</table>\n");
}

fn rows(page: &mut String, note: &Note) {
    if note.rows.is_empty() {
        if !note.without_rows.is_empty() {
            let _ = writeln!(page, "<h2>{}</h2>\n<p>{}</p>", escape(&note.title), escape(&note.without_rows));
        }
        return;
    }
    let _ = writeln!(page, "<h2>{}</h2>\n<table>", escape(&note.title));
    for (name, words) in &note.rows {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(words));
    }
    page.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::example;

    #[test]
    fn whatever_is_told_stands_in_it_as_text() {
        let hostile = "</title><script>alert('1')</script>\" onload=\"x & \u{1}";
        let mut report = example();
        report.title = hostile.into();
        report.lead = vec![hostile.into()];
        report.fine_print = hostile.into();
        report.repeat = hostile.into();
        report.notes[0].title = hostile.into();
        report.notes[0].rows = vec![(hostile.into(), hostile.into())];
        report.promises[0].name = hostile.into();
        report.promises[0].violations = vec![hostile.into(); 12];
        report.steps[0].what[0].name = hostile.into();
        report.steps[0].what[0].words = hostile.into();
        report.steps[0].what[0].whom = hostile.into();
        report.elections[0].leader = hostile.into();
        let page = render(&report);
        for wrong in ["<script", "</title><script", "\" onload", "\u{1}"] {
            assert!(!page.contains(wrong), "{wrong} is in the page");
        }
        assert!(page.contains("&lt;script&gt;") && page.contains("and 2 more"));
    }

    #[test]
    fn it_needs_nothing_from_elsewhere_and_is_whole() {
        let page = render(&example());
        for wrong in ["http:", "https:", "src=", "@import", "url(", "<link"] {
            assert!(!page.contains(wrong), "{wrong} is in the page");
        }
        for tag in ["table", "tr", "svg", "g", "h2", "p", "div"] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        for found in ["every promise was kept", "no library", "a master is killed", "store and API"] {
            assert!(page.contains(found), "{found} is not in the page");
        }
    }

    #[test]
    fn what_was_not_done_has_no_rows() {
        let mut report = example();
        report.samples.retain(|sample| sample.what == What::ApiWrite);
        report.notes[0].rows.clear();
        let page = render(&report);
        assert!(!page.contains("write to the store") && page.contains("<p>Nothing</p>"), "{page}");
        report.notes[0].without_rows.clear();
        assert!(!render(&report).contains("Skipped"));
    }
}
