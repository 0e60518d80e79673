//! A master under the systemd unit: its authorities lie where it may not write.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{TRIREME, eventually, free_ports, text, trireme};

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Runs the rest of the command line in a place where `dir` is read-only, or where that needs
/// rights that this user has not, after taking the right to write away.
fn read_only(dir: &Path) -> Command {
    let script =
        format!("mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec \"$@\"", dir.display());
    let mut unshared = Command::new("unshare");
    unshared.args(["--mount", "sh", "-c", &script, "sh"]);
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "sh", "-c", &script, "sh", "true"]).stderr(Stdio::null());
    if probe.status().is_ok_and(|status| status.success()) {
        return unshared;
    }
    let taken = Command::new("chmod").args(["-R", "a-w"]).arg(dir).status();
    assert!(taken.is_ok_and(|status| status.success()), "chmod {}", dir.display());
    Command::new("env")
}

#[test]
fn a_master_starts_from_authorities_that_it_may_only_read() {
    let folder = tempfile::tempdir().expect("folder");
    let pki = folder.path().join("pki");
    let pki_text = pki.to_str().expect("UTF-8");
    let port = free_ports();
    let server = format!("https://127.0.0.1:{port}");
    let made = trireme(&["pki", "--dir", pki_text, "--server", &server]);
    assert!(made.status.success(), "{}", text(&made));
    for file in ["ca.key", "store-ca.key", "sa.key", "store-client.crt", "admin.kubeconfig"] {
        assert!(pki.join(file).exists(), "{file}");
    }
    let log = folder.path().join("log");
    let master = read_only(&pki)
        .arg(TRIREME)
        .args(["server", "--name", "master-1", "--pki-dir", pki_text, "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--api-listen", &format!("127.0.0.1:{port}")])
        .args(["--client-listen", &format!("127.0.0.1:{}", port + 1)])
        .args(["--peer-listen", &format!("127.0.0.1:{}", port + 2)])
        .stderr(std::fs::File::create(&log).expect("log"))
        .spawn()
        .expect("run the master");
    let mut master = Stopped(master);
    eventually("the master to serve", || {
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(master.0.try_wait().expect("wait").is_none(), "the master ended: {}", said());
        let answer = support::kubectl_with(&pki.join("admin.kubeconfig"), &["get", "namespace", "default"]);
        if answer.status.success() { Ok(()) } else { Err(text(&answer) + &said()) }
    });
    drop(master);
    let _ = Command::new("chmod").args(["-R", "u+w"]).arg(&pki).status();
}
