//! Three masters behind HAProxy with the configuration that is shipped.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{eventually, free_ports, shared, text};

struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kubectl_works_through_haproxy_though_a_master_dies() {
    let cluster = shared();
    let address = format!("127.0.0.1:{}", free_ports());
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/haproxy/haproxy.cfg");
    let program =
        ["/usr/sbin/haproxy", "haproxy"].into_iter().find(|p| Path::new(p).exists()).unwrap_or("haproxy");
    let log = std::fs::File::create(cluster.dir.join("haproxy.log")).expect("log");
    let child = Command::new(program)
        .arg("-db")
        .arg("-f")
        .arg(configuration)
        .env("TRIREME_LISTEN", &address)
        .env("TRIREME_MASTER_1", cluster.api(1))
        .env("TRIREME_MASTER_2", cluster.api(2))
        .env("TRIREME_MASTER_3", cluster.api(3))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("log"))
        .stderr(log)
        .spawn()
        .expect("run haproxy");
    let _haproxy = HaProxy(child);
    let server = format!("--server=https://{address}");
    let kubectl = |arguments: &[&str]| {
        let mut all = vec![server.as_str()];
        all.extend_from_slice(arguments);
        let output = cluster.kubectl(&all);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            .ok_or_else(|| text(&output))
    };
    eventually("an answer through HAProxy", || kubectl(&["get", "--raw", "/readyz"]));
    for master in ["master-1", "master-2", "master-3"] {
        cluster.kill(master);
        let name = format!("made-while-{master}-is-dead");
        eventually("a write through HAProxy", || {
            kubectl(&["create", "configmap", &name, "--from-literal=a=b"])
        });
        assert_eq!(kubectl(&["get", "configmap", &name, "-o", "jsonpath={.data.a}"]), Ok("b".to_owned()));
        // The next one dies only when this one is back, or no quorum is left.
        eventually("all members healthy", || {
            let status = cluster.status();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let good = members.len() == 3 && members.iter().all(|m| m["healthy"] == true);
            good.then_some(()).ok_or_else(|| status.to_string())
        });
    }
}
