//! An upstream kube-apiserver on a cluster's store, as a process of its own: what
//! `deploy/kube-apiserver.sh` builds, with authorities and users of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::support::{Cluster, eventually, kubectl_with, text};

/// As `deploy/kube-apiserver.sh` has it.
const VERSION: &str = "1.20.2";
/// How long the API server keeps Events: each has a lease of the store that ends then.
const EVENT_TTL: &str = "10s";
/// Who may do nothing until a role is bound to it.
pub(crate) const USER: &str = "jane";
const TOKEN: &str = "janes-token-of-a-test";
/// Ends the server with its standard input, so that none outlives a test that is killed. Says the
/// server's pid.
const KEEPER: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
echo $pid
(cat <&3 >/dev/null; kill -9 $pid) 2>/dev/null &
wait $pid"#;

/// How one is started.
pub(crate) struct Options<'a> {
    /// Of its keys in the store.
    pub prefix: &'a str,
    /// Folder with `store-ca.crt` and the certificate.
    pub certificates: PathBuf,
    /// `<name>.crt` and `<name>.key` in that folder.
    pub certificate: &'a str,
    /// How often it compacts the store; `0` for never.
    pub compaction_interval: &'a str,
}

/// Ended when dropped, and with this process.
pub(crate) struct KubeApiserver {
    dir: tempfile::TempDir,
    pid: u32,
    keeper: Mutex<Child>,
}

impl Drop for KubeApiserver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the kube-apiserver's log:\n{}", last_lines(&self.log(), 40));
        }
        if let Ok(keeper) = self.keeper.get_mut() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// `$TRIREME_KUBE_APISERVER`, or where it was built; what is not tested is said by name.
fn program() -> Option<PathBuf> {
    let built = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join(format!("trireme/kube-apiserver-{VERSION}/kube-apiserver")))
    };
    let program = std::env::var_os("TRIREME_KUBE_APISERVER").map(PathBuf::from).or_else(built)?;
    if program.exists() {
        return Some(program);
    }
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let told = format!("skipped: {name}: {} is not here\n", program.display());
    let _ = std::io::stderr().write_all(told.as_bytes());
    None
}

/// Whether there is one to test; says so, where there is none.
pub(crate) fn is_here() -> bool {
    program().is_some()
}

impl KubeApiserver {
    /// Until it is ready. `None`, and said, where it was not built.
    pub(crate) fn start(cluster: &Cluster, options: &Options<'_>) -> Option<KubeApiserver> {
        let program = program()?;
        let dir = tempfile::Builder::new().prefix("upstream-").tempdir_in(&cluster.dir).expect("a folder");
        let port = free_port();
        make_credentials(dir.path(), port);
        let log = std::fs::File::create(dir.path().join("log")).expect("log");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(program)
            .args(arguments(cluster, options, dir.path(), port))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("run kube-apiserver");
        let mut pid = String::new();
        let said = keeper.stdout.take().expect("stdout");
        BufReader::new(said).read_line(&mut pid).expect("the server's pid");
        let pid = pid.trim().parse().expect("a pid");
        let server = KubeApiserver { dir, pid, keeper: Mutex::new(keeper) };
        eventually("the kube-apiserver to be ready", || {
            server.assert_runs();
            server.get("/readyz").map(|_| ())
        });
        Some(server)
    }

    /// That it is the process that was started.
    pub(crate) fn assert_runs(&self) {
        let ended = self.keeper.lock().expect("the keeper").try_wait().expect("wait");
        if let Some(status) = ended {
            panic!("kube-apiserver, pid {}, ended: {status}: {}", self.pid, last_lines(&self.log(), 40));
        }
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// For files of a test.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("write a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Of the administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        kubectl_with(&self.kubeconfig(), arguments)
    }

    /// As [`USER`].
    pub(crate) fn kubectl_as_user(&self, arguments: &[&str]) -> Output {
        kubectl_with(&self.dir.path().join("user.kubeconfig"), arguments)
    }

    /// Standard output of a call that succeeds.
    pub(crate) fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is said by a call that fails.
    pub(crate) fn kubectl_refused(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(!output.status.success(), "kubectl {arguments:?}: {}", text(&output));
        text(&output)
    }

    /// A GET of any path.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        let output = self.kubectl(&["get", "--raw", path]);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(text(&output)),
        }
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        let said = self.get(path).unwrap_or_else(|refusal| panic!("{path}: {refusal}"));
        serde_json::from_str(&said).expect("JSON")
    }

    /// A client of the administrator's.
    pub(crate) fn client(&self) -> trireme_client::Client {
        let config = trireme_client::Kubeconfig::load(&self.kubeconfig(), None).expect("a kubeconfig");
        trireme_client::Client::new(config.transport("trireme-test").expect("a transport"))
    }

    /// A watch of `path` from a revision on, by `kubectl`, for so many seconds.
    pub(crate) fn watch(&self, path: &str, from: &str, seconds: u64) -> Command {
        let path = format!("{path}?watch=1&resourceVersion={from}&timeoutSeconds={seconds}");
        let mut command = Command::new(std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into()));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(["get", "--raw", &path]);
        command.env("HOME", self.dir.path().join("kubectl-home")).stdin(Stdio::null());
        command
    }

    /// All events that such a watch shows.
    pub(crate) fn watched(&self, path: &str, from: &str, seconds: u64) -> Vec<serde_json::Value> {
        let output = self.watch(path, from, seconds).output().expect("run kubectl");
        let said = String::from_utf8_lossy(&output.stdout);
        said.lines().map(|line| serde_json::from_str(line).expect("a watch event")).collect()
    }
}

fn arguments(cluster: &Cluster, options: &Options<'_>, dir: &Path, port: u16) -> Vec<OsString> {
    let stores: Vec<String> = (1..=3).map(|n| format!("https://{}", cluster.store(n))).collect();
    let certificates = &options.certificates;
    let mut all: Vec<OsString> = Vec::new();
    let mut flag = |name: &str, value: &Path| {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        all.push(flag);
    };
    flag("etcd-servers", Path::new(&stores.join(",")));
    flag("etcd-prefix", Path::new(options.prefix));
    flag("etcd-cafile", &certificates.join("store-ca.crt"));
    flag("etcd-certfile", &certificates.join(format!("{}.crt", options.certificate)));
    flag("etcd-keyfile", &certificates.join(format!("{}.key", options.certificate)));
    flag("etcd-compaction-interval", Path::new(options.compaction_interval));
    flag("etcd-db-metric-poll-interval", Path::new("2s"));
    flag("event-ttl", Path::new(EVENT_TTL));
    // Secrets are read and watched in the store itself, all else through the API server's cache.
    flag("watch-cache-sizes", Path::new("secrets#0"));
    flag("bind-address", Path::new("127.0.0.1"));
    // Not used by anybody: its Endpoints may hold no loopback address.
    flag("advertise-address", Path::new("192.0.2.1"));
    flag("secure-port", Path::new(&port.to_string()));
    flag("tls-cert-file", &dir.join("server.crt"));
    flag("tls-private-key-file", &dir.join("server.key"));
    flag("client-ca-file", &dir.join("ca.crt"));
    flag("token-auth-file", &dir.join("tokens.csv"));
    flag("authorization-mode", Path::new("Node,RBAC"));
    flag("service-cluster-ip-range", Path::new("10.96.0.0/16"));
    flag("service-account-issuer", Path::new("https://kubernetes.default.svc"));
    flag("service-account-key-file", &dir.join("sa.pub"));
    flag("service-account-signing-key-file", &dir.join("sa.key"));
    all
}

/// Above those of clusters.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port()
}

/// The authority, certificates of the server and of the administrator, the user's token and the key
/// of service accounts.
fn make_credentials(dir: &Path, port: u16) {
    let private = |name: &str, content: &str| {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(dir.join(name));
        file.expect("a file").write_all(content.as_bytes()).expect("write");
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "upstream-ca");
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("an authority").pem();
    let issuer = Issuer::new(params, key);
    let issue = |name: &str, names: Vec<String>, user: &str, group: &str, usage| {
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![usage];
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        private(&format!("{name}.crt"), &certificate.pem());
        private(&format!("{name}.key"), &key.serialize_pem());
    };
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    issue("server", names, "kube-apiserver", "upstream", ExtendedKeyUsagePurpose::ServerAuth);
    issue("admin", Vec::new(), "admin", "system:masters", ExtendedKeyUsagePurpose::ClientAuth);
    private("ca.crt", &authority);
    let accounts = KeyPair::generate().expect("a key");
    private("sa.key", &accounts.serialize_pem());
    private("sa.pub", &accounts.public_key_pem());
    private("tokens.csv", &format!("{TOKEN},{USER},{USER}-uid\n"));
    let kubeconfig = |user: serde_json::Value| {
        let server = format!("https://127.0.0.1:{port}");
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "upstream",
            "clusters": [{"name": "upstream", "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "upstream", "context": {"cluster": "upstream", "user": "user"}}],
        })
        .to_string()
    };
    let admin = serde_json::json!({"client-certificate": "admin.crt", "client-key": "admin.key"});
    private("admin.kubeconfig", &kubeconfig(admin));
    private("user.kubeconfig", &kubeconfig(serde_json::json!({"token": TOKEN})));
}

fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
