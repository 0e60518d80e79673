//! Slow requests: told in the log, with where their time went and nothing of what they carried.

mod support;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use support::{Pki, Running, Troubled};

const NS: &str = "/api/v1/namespaces/default";
/// What is slow here; far above what anything takes by itself, were it not for a busy machine.
const SLOW: Duration = Duration::from_millis(250);
const DELAY_MS: u64 = 400;

/// What this program logs.
fn told() -> &'static Mutex<Vec<u8>> {
    static TOLD: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    TOLD.get_or_init(|| {
        struct Writer;
        impl io::Write for Writer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                told().lock().expect("no panic").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Writer);
        subscriber.with_max_level(tracing::Level::WARN).init();
        Mutex::default()
    })
}

/// The lines about slow requests whose subject has this name.
fn lines(name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&told().lock().expect("no panic")).into_owned();
    let lines = text.lines().filter(|line| line.contains("a request was slow"));
    lines.filter(|line| line.contains(&format!(" name=\"{name}\""))).map(str::to_owned).collect()
}

/// Milliseconds of what a line tells: `took_ms`, or a step.
fn figure(line: &str, name: &str) -> f64 {
    let found = line.split([' ', '"']).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}: {line}")).parse().expect(line)
}

fn steps(line: &str) -> f64 {
    let steps = line.split("steps=\"").nth(1).and_then(|rest| rest.split('"').next()).expect(line);
    steps.split(' ').map(|step| step.split_once('=').expect(line).1.parse::<f64>().expect(line)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_says_where_its_time_went() {
    told();
    let kv = Arc::new(Troubled::new().expect("a store in memory"));
    let t = Running::start_on(kv.clone(), Arc::new(Pki::new().expect("certificates"))).await;
    t.server.tell_of_slower_than(SLOW);
    let secret = |name: &str| {
        format!(
            r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"{name}"}},"stringData":{{"k":"zebra"}}}}"#
        )
    };
    let secrets = format!("{NS}/secrets");

    kv.txn_ms.store(DELAY_MS, Ordering::SeqCst);
    let agent = [("user-agent", "slow-test/1.0")];
    let sent = t.request_as(Some(&t.pki.admin), "POST", &secrets, &secret("written"), &agent).await;
    assert_eq!(sent.expect("an answer").status, 201);
    kv.txn_ms.store(0, Ordering::SeqCst);
    kv.barrier_ms.store(DELAY_MS, Ordering::SeqCst);
    let read = t.request("GET", &format!("{secrets}/written"), "").await;
    assert_eq!(read.status, 200);
    // What is long by its nature is not slow, even where its begin is.
    let path = format!("{secrets}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dwatched");
    assert_eq!(t.request("GET", &path, "").await.status, 200);
    kv.barrier_ms.store(0, Ordering::SeqCst);
    assert_eq!(lines("watched"), Vec::<String>::new());

    let found = lines("written");
    let [write, read] = &found[..] else { panic!("two lines are expected: {found:?}") };
    for told in [
        "request=\"create\"",
        "resource=\"secrets\"",
        "namespace=\"default\"",
        "user=\"admin\"",
        "client=\"slow-test/1.0\"",
        "status=201",
    ] {
        assert!(write.contains(told), "{told}: {write}");
    }
    assert!(figure(write, "store") >= DELAY_MS as f64, "{write}");
    assert!(read.contains("request=\"get\"") && figure(read, "barrier") >= DELAY_MS as f64, "{read}");
    for line in [write, read] {
        let (took, sum) = (figure(line, "took_ms"), steps(line));
        // Each is cut to a microsecond.
        assert!((took - sum).abs() < 0.1, "{took} is not {sum}: {line}");
        assert!(!line.contains("zebra") && !line.contains("emVicmE"), "{line}");
    }

    let metrics = t.request("GET", "/metrics", "").await.text;
    for kind in ["read", "write"] {
        let counted = format!("trireme_apiserver_slow_requests_total{{kind=\"{kind}\"}} ");
        let counted = metrics.lines().find_map(|line| line.strip_prefix(&counted));
        assert!(counted.is_some_and(|n| n != "0"), "{kind}: {metrics}");
    }
}
