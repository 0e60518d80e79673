//! A cluster of real processes for tests: what `trireme up` starts, on ports of its own.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

pub mod clock;
pub mod deeds;
pub mod machines;
pub mod network;
pub mod writers;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub const TRIREME: &str = env!("CARGO_BIN_EXE_trireme");
/// Generous: two cores may be shared with a build.
pub const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Ports from the balancer's on that a cluster of three masters and two replicas takes.
const PORTS: u16 = 90;

/// Stops its processes when dropped, and when the test process ends without dropping it.
pub struct Cluster {
    pub dir: PathBuf,
    pub port: u16,
    /// What `up` printed until it was ready.
    pub said: String,
    supervisor: Child,
    owned: Option<tempfile::TempDir>,
}

/// A block of ports that nobody listens on. Blocks are taken by process and count.
pub fn free_ports() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..400 {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = 10_000 + (std::process::id() as u16 % 200 + n * 7) % 200 * 100;
        if (start..start + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return start;
        }
    }
    panic!("no block of {PORTS} free ports");
}

impl Cluster {
    pub fn start(masters: u16, nodes: u32) -> Cluster {
        let owned = tempfile::Builder::new().prefix("trireme-test-").tempdir().expect("temporary folder");
        let mut cluster = Self::start_in(owned.path(), free_ports(), masters, nodes, &[]);
        cluster.owned = Some(owned);
        cluster
    }

    pub fn start_in(dir: &Path, port: u16, masters: u16, nodes: u32, more: &[&str]) -> Cluster {
        let mut supervisor = Command::new(TRIREME)
            .args(["up", "--port", &port.to_string(), "--masters", &masters.to_string()])
            .args(["--nodes", &nodes.to_string(), "--dir"])
            .arg(dir)
            .args(more)
            // Standard input is a pipe held by this process: its end ends the cluster.
            .env("TRIREME_SUPERVISED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.join("up.stderr")).expect("log"))
            .spawn()
            .expect("run trireme up");
        let mut lines = BufReader::new(supervisor.stdout.take().expect("stdout"));
        let mut said = String::new();
        while !said.contains("export KUBECONFIG=") {
            if lines.read_line(&mut said).expect("read what up says") == 0 {
                let errors = std::fs::read_to_string(dir.join("up.stderr")).unwrap_or_default();
                panic!("the cluster did not come up: {said}{errors}");
            }
        }
        std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = lines.read_to_string(&mut rest);
        });
        Cluster { dir: dir.to_owned(), port, said, supervisor, owned: None }
    }

    /// What the supervisor has told since it started.
    pub fn told(&self) -> String {
        std::fs::read_to_string(self.dir.join("up.stderr")).unwrap_or_default()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn pki(&self, file: &str) -> PathBuf {
        self.dir.join("pki").join(file)
    }

    /// `host:port` of a master's API, counting from one.
    pub fn api(&self, master: u16) -> String {
        format!("127.0.0.1:{}", self.port + 10 * master)
    }

    /// `host:port` of a master's store.
    pub fn store(&self, master: u16) -> String {
        format!("127.0.0.1:{}", self.port + 10 * master + 1)
    }

    pub fn pid(&self, process: &str) -> Option<u32> {
        std::fs::read_to_string(self.dir.join(process).join("pid")).ok()?.trim().parse().ok()
    }

    pub fn kill(&self, process: &str) {
        let pid = self.pid(process).expect("a pid");
        let status = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
        assert!(status.success(), "kill -9 {pid}");
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        kubectl_with(&self.kubeconfig(), arguments)
    }

    /// Standard output of a call that succeeds.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A namespace of its own for a test.
    pub fn namespace(&self, name: &str) {
        self.kubectl_ok(&["create", "namespace", name]);
        eventually("the default ServiceAccount", || {
            let output = self.kubectl(&["-n", name, "get", "serviceaccount", "default"]);
            output.status.success().then_some(()).ok_or_else(|| text(&output))
        });
    }

    pub fn status(&self) -> serde_json::Value {
        let output = trireme(&["status", "-o", "json", "--dir", self.dir.to_str().expect("UTF-8")]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("trireme status: {}", text(&output)))
    }

    /// Name of the master that leads the store.
    pub fn leader(&self) -> String {
        eventually("a leader", || {
            let status = self.status();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let leader = members.iter().find(|m| m["role"] == "leader").and_then(|m| m["name"].as_str());
            leader.map(str::to_owned).ok_or_else(|| status.to_string())
        })
    }

    /// Sends SIGTERM to the supervisor and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let _ = Command::new("kill").arg(self.supervisor.id().to_string()).status();
        self.supervisor.wait().expect("wait for up")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.owned.take().map(tempfile::TempDir::keep);
            eprintln!("the cluster's files are kept: {:?}", kept.unwrap_or_else(|| self.dir.clone()));
        }
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// One cluster of three masters and two nodes for all tests of a binary.
pub fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 2))
}

pub fn kubectl_with(kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into()))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        // Discovery is cached by server address: ports come back with other clusters behind them.
        .env("KUBECACHEDIR", kubeconfig.with_file_name("kubectl-cache"))
        .env("HOME", kubeconfig.with_file_name("kubectl-home"))
        .output()
        .expect("run kubectl")
}

pub fn trireme(arguments: &[&str]) -> Output {
    Command::new(TRIREME).args(arguments).output().expect("run trireme")
}

/// Tells a figure, or what is not tested here, past the capture of what tests that pass print.
pub fn say(text: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{name}: {text}\n"));
}

/// Both outputs, for messages.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Tries until it succeeds; the last refusal is the message.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(refusal) if Instant::now() > deadline => panic!("{what}: not within {DEADLINE:?}: {refusal}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// The reference data beside the workspace, or `$TRIREME_SHARED`. Tests that need it are skipped
/// by name where it is absent.
pub fn reference(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRIREME_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join(file);
    if path.exists() {
        return Some(path);
    }
    say(&format!("skipped: {} is not here", path.display()));
    None
}
