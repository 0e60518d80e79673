//! A cluster whose disk is full, and then is not any more. Root can mount a small disk.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use support::{Cluster, eventually, free_ports, text};

/// A file system in memory; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a word about `test`, where this process may not mount.
    fn mount(test: &str, mib: u64) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("trireme-disk-").tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            // Past the capture of the test's output: that nothing was tested must be seen.
            let _ = writeln!(std::io::stderr(), "skipped: {test}: it needs root, to mount a small disk");
            return None;
        }
        Some(Self(dir))
    }

    fn free_bytes(&self) -> u64 {
        let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(self.0.path()).output();
        let said = String::from_utf8(output.expect("run stat").stdout).expect("numbers");
        said.split_whitespace().map(|n| n.parse::<u64>().expect("a number")).product()
    }

    /// Takes what room there is, but for `left` bytes.
    fn fill(&self, left: u64) -> std::path::PathBuf {
        let ballast = self.0.path().join("ballast");
        let mut file = fs::File::create(&ballast).expect("create");
        let bytes = self.free_bytes().saturating_sub(left) as usize;
        file.write_all(&vec![1; bytes]).expect("room for the ballast");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn map(dir: &Path, name: &str) -> String {
    let file = dir.join(format!("{name}.json"));
    let value = "x".repeat(900_000);
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"a":"{value}"}}}}"#
    );
    fs::write(&file, body).expect("write");
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn one_master_refuses_writes_takes_deletes_and_heals_by_itself() {
    check("full_disk::one_master_refuses_writes_takes_deletes_and_heals_by_itself", 1);
}

#[test]
fn three_masters_refuse_writes_take_deletes_and_heal_by_themselves() {
    check("full_disk::three_masters_refuse_writes_take_deletes_and_heal_by_themselves", 3);
}

fn check(test: &str, masters: u16) {
    // For each the log's first segment, the next one and twice the reserve, and as much again.
    let Some(disk) = SmallDisk::mount(test, 320 * u64::from(masters)) else { return };
    let elsewhere = tempfile::tempdir().expect("folder");
    let mut cluster = Cluster::start_in(disk.0.path(), free_ports(), masters, 0, &[]);
    let create = |name: &str| cluster.kubectl(&["create", "-f", &map(elsewhere.path(), name)]);
    eventually("a first write", || {
        let output = create("first");
        output.status.success().then_some(()).ok_or_else(|| text(&output))
    });
    let names: Vec<_> = (1..=masters).map(|n| format!("master-{n}")).collect();
    let reserved = || {
        let missing = names.iter().find(|name| {
            let reserve = disk.0.path().join(name).join("data/store/log/reserve");
            fs::metadata(reserve).map_or(0, |file| file.len()) != 32 << 20
        });
        missing.map_or(Ok(()), |name| Err(name.clone()))
    };
    eventually("the reserves", reserved);
    let pids = || names.iter().map(|name| cluster.pid(name)).collect::<Vec<_>>();
    let started = pids();

    let ballast = disk.fill(12 << 20);
    let refusal = (0..200).find_map(|i| {
        let output = create(&format!("map-{i}"));
        (!output.status.success()).then(|| text(&output))
    });
    let refusal = refusal.expect("the disk was never full");
    assert!(refusal.contains("the store has no space left"), "{refusal}");

    // Reads and deletes go on, and the state is no other than it was.
    let said = cluster.kubectl_ok(&["get", "configmap", "first", "-o", "jsonpath={.data.a}"]);
    assert_eq!(said.len(), 900_000);
    cluster.kubectl_ok(&["delete", "configmap", "first"]);
    let output = cluster.kubectl(&["get", "configmap", "first"]);
    assert!(text(&output).contains("NotFound"), "{}", text(&output));
    let output = create("refused");
    assert!(text(&output).contains("the store has no space left"), "{}", text(&output));

    fs::remove_file(&ballast).expect("remove");
    eventually("writes to resume", || {
        let output = create("again");
        output.status.success().then_some(()).ok_or_else(|| text(&output))
    });
    assert_eq!(pids(), started, "by themselves, without a restart");
    eventually("the reserves again", reserved);
    assert!(cluster.stop().success(), "{}", cluster.told());
}
