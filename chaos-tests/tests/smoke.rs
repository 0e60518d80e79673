//! A short run of the harness against real processes: every kind of fault once.

use trireme_chaos::run::{Options, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_once_and_nothing_is_lost() {
    let options = Options { seed: Some(1), faults: 4, clients: 2, masters: 3, port: None, dir: None };
    let report = run(&options).await.expect("the harness itself works");
    assert!(report.passed(), "\n{report}");
}
