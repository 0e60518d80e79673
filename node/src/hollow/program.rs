//! What a container that does not run would have done: guessed from its command line.
//!
//! `sleep N` and `exit N` are understood, alone or within a shell line; a loop never ends. What
//! is not understood runs on, unless the pod is meant to end (`restartPolicy` other than
//! `Always`, or an init container) and the container names a command: then it ends well.
//! Annotations say otherwise: `hollow.trireme.io/exit-after: 5s`, `hollow.trireme.io/exit-code: "1"`
//! (for all containers of the pod that are not init containers), `hollow.trireme.io/stop-after: 500ms`.

use std::time::Duration;

use trireme_api::{Object, Value};

const EXIT_AFTER: &str = "hollow.trireme.io/exit-after";
const EXIT_CODE: &str = "hollow.trireme.io/exit-code";
const STOP_AFTER: &str = "hollow.trireme.io/stop-after";
/// How long a command takes that is not understood but must end.
const UNKNOWN_COMMAND: Duration = Duration::from_secs(1);
const INIT_CONTAINER: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Forever,
    Ends { after: Duration, code: i32 },
}

pub fn of(pod: &Object, container: &Value) -> Program {
    let is_init = pod.spec()["initContainers"].items().iter().any(|c| c["name"] == container["name"]);
    if is_init && container["restartPolicy"] == "Always" {
        return Program::Forever;
    }
    if !is_init && let Some(program) = annotated(pod) {
        return program;
    }
    let words = container["command"].items().iter().chain(container["args"].items());
    let line = words.map(Value::str_or_empty).collect::<Vec<_>>().join(" ");
    if let Some(program) = understood(&line) {
        return program;
    }
    if is_init {
        return Program::Ends { after: INIT_CONTAINER, code: 0 };
    }
    let must_end = matches!(pod.spec()["restartPolicy"].str_or_empty(), "Never" | "OnFailure");
    if must_end && !line.is_empty() {
        Program::Ends { after: UNKNOWN_COMMAND, code: 0 }
    } else {
        Program::Forever
    }
}

/// How long a container takes to stop when it is told to.
pub fn stop_time(pod: &Object) -> Duration {
    pod.annotation(STOP_AFTER).and_then(duration).unwrap_or_default()
}

fn annotated(pod: &Object) -> Option<Program> {
    let after = pod.annotation(EXIT_AFTER).and_then(duration);
    let code = pod.annotation(EXIT_CODE).and_then(|c| c.parse().ok());
    if after.is_none() && code.is_none() {
        return None;
    }
    Some(Program::Ends { after: after.unwrap_or_default(), code: code.unwrap_or(0) })
}

fn understood(line: &str) -> Option<Program> {
    let words: Vec<&str> =
        line.split(|c: char| c.is_whitespace() || ";&|\"'()".contains(c)).filter(|w| !w.is_empty()).collect();
    if words.iter().any(|w| matches!(*w, "while" | "until")) || line.contains("tail -f") {
        return Some(Program::Forever);
    }
    let mut after = Duration::ZERO;
    let mut code = None;
    let mut slept = false;
    for (i, word) in words.iter().enumerate() {
        let argument = words.get(i + 1).copied();
        match word.rsplit('/').next() {
            Some("sleep") => {
                if argument == Some("infinity") || argument == Some("inf") {
                    return Some(Program::Forever);
                }
                if let Some(d) = argument.and_then(duration) {
                    after += d;
                    slept = true;
                }
            }
            // The first exit is where it ends.
            Some("exit") => {
                code = Some(argument.and_then(|a| a.parse().ok()).unwrap_or(0));
                break;
            }
            Some("false") if words.len() == 1 => code = Some(1),
            _ => {}
        }
    }
    (slept || code.is_some()).then_some(Program::Ends { after, code: code.unwrap_or(0) })
}

/// `5`, `0.5`, `5s`, `500ms`, `2m`, `1h`, `1d`.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn check(policy: &str, command: &[&str], want: Option<(u64, i32)>) {
        let pod = Object(value!({"spec": {"restartPolicy": policy}}));
        let mut container = value!({"name": "c"});
        container.make(&[]).set("command", command.to_vec());
        let want = want
            .map_or(Program::Forever, |(ms, code)| Program::Ends { after: Duration::from_millis(ms), code });
        assert_eq!(of(&pod, &container), want, "{policy} {command:?}");
    }

    #[test]
    fn commands() {
        check("Always", &[], None);
        check("Always", &["nginx", "-g", "daemon off;"], None);
        check("Always", &["sh", "-c", "exit 1"], Some((0, 1)));
        check("Never", &["sleep", "5"], Some((5000, 0)));
        check(
            "Never",
            &["/bin/sh", "-c", "echo hi; sleep 0.5 && sleep 1m; exit 3; sleep 9"],
            Some((60_500, 3)),
        );
        check("Never", &["sleep", "infinity"], None);
        check("Never", &["sh", "-c", "while true; do sleep 1; done"], None);
        check("OnFailure", &["perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"], Some((1000, 0)));
        check("Never", &[], None);
        check("Never", &["false"], Some((0, 1)));
    }

    #[test]
    fn annotations_win_but_not_over_init_containers() {
        let pod = Object(value!({
            "metadata": {"annotations": {EXIT_AFTER: "2s", EXIT_CODE: "7", STOP_AFTER: "300ms"}},
            "spec": {"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]},
        }));
        let of = |name: &str| {
            of(&pod, &value!({"name": name, "restartPolicy": if name == "s" { "Always" } else { "" }}))
        };
        assert_eq!(of("c"), Program::Ends { after: Duration::from_secs(2), code: 7 });
        assert_eq!(of("i"), Program::Ends { after: INIT_CONTAINER, code: 0 });
        assert_eq!(of("s"), Program::Forever);
        assert_eq!(stop_time(&pod), Duration::from_millis(300));
    }
}
