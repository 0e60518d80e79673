//! Objects of other clusters, from snapshot files and from an etcd that runs.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use support::{Cluster, eventually, reference, text, trireme};
use trireme_bolt::etcd::{Change, KeyValue, Position, Revision, SnapshotWriter};

/// Kinds whose objects nothing acts on (those of the reference all have a namespace): file in the reference, key, path in the API. Every other
/// one is stored as protobuf.
const KINDS: &[(&str, &str, &str)] = &[
    ("core.v1.ConfigMap", "configmaps/namespaceValue", "/api/v1/namespaces/namespaceValue/configmaps"),
    ("core.v1.Secret", "secrets/namespaceValue", "/api/v1/namespaces/namespaceValue/secrets"),
    ("core.v1.LimitRange", "limitranges/namespaceValue", "/api/v1/namespaces/namespaceValue/limitranges"),
    (
        "apps.v1.ControllerRevision",
        "controllerrevisions/namespaceValue",
        "/apis/apps/v1/namespaces/namespaceValue/controllerrevisions",
    ),
    (
        "networking.k8s.io.v1.NetworkPolicy",
        "networkpolicies/namespaceValue",
        "/apis/networking.k8s.io/v1/namespaces/namespaceValue/networkpolicies",
    ),
    (
        "rbac.authorization.k8s.io.v1.Role",
        "roles/namespaceValue",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/namespaceValue/roles",
    ),
    (
        "rbac.authorization.k8s.io.v1.RoleBinding",
        "rolebindings/namespaceValue",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/namespaceValue/rolebindings",
    ),
    (
        "storage.k8s.io.v1.CSIStorageCapacity",
        "csistoragecapacities/namespaceValue",
        "/apis/storage.k8s.io/v1/namespaces/namespaceValue/csistoragecapacities",
    ),
    (
        "resource.k8s.io.v1.ResourceClaimTemplate",
        "resourceclaimtemplates/namespaceValue",
        "/apis/resource.k8s.io/v1/namespaces/namespaceValue/resourceclaimtemplates",
    ),
];

fn write_snapshot(path: &Path, objects: &BTreeMap<String, Vec<u8>>) {
    let mut writer = SnapshotWriter::new(File::create_new(path).unwrap()).unwrap();
    for (main, (key, value)) in (2..).zip(objects) {
        let kv = KeyValue {
            key: format!("/registry/{key}").into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: value.clone().into(),
            lease: 0,
        };
        writer.put(Revision { main, sub: 0 }, &Change::Put(kv)).unwrap();
    }
    drop(writer.finish([], 0, &Position::default()).unwrap());
    trireme_bolt::append_digest(&mut File::options().read(true).write(true).open(path).unwrap()).unwrap();
}

fn import(cluster: &Cluster, more: &[&str]) -> Output {
    let dir = cluster.dir.to_str().unwrap();
    trireme(&[&["import", "etcd", "--dir", dir], more].concat())
}

fn get(cluster: &Cluster, path: &str) -> Value {
    serde_json::from_str(&cluster.kubectl_ok(&["get", "--raw", path])).unwrap()
}

/// Without what every write sets anew.
fn comparable(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["resourceVersion", "selfLink"] {
        metadata.remove(field);
    }
    // What a Secret's `stringData` says goes into its `data`; upstream never stores it.
    if object.as_object_mut().unwrap().remove("stringData").is_some() {
        object["data"]["stringDataKey"] = json!("c3RyaW5nRGF0YVZhbHVl");
    }
    object
}

#[test]
fn a_snapshot_file_is_imported_and_read_back_through_the_api() {
    let Some(codec) = reference("reference/codec-1.36") else { return };
    let mut objects = BTreeMap::new();
    for (i, (name, prefix, _)) in KINDS.iter().enumerate() {
        let extension = if i % 2 == 0 { "pb" } else { "json" };
        let value = std::fs::read(codec.join(format!("{name}.{extension}"))).unwrap();
        objects.insert(format!("{prefix}/nameValue"), value);
    }
    let map = |name: &str, data: Value| {
        let metadata = json!({"name": name, "namespace": "default", "uid": "11"});
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}).to_string()
    };
    objects.insert("configmaps/default/both".into(), map("both", json!({"from": "source"})).into());
    objects.insert("configmaps/default/kube-root-ca.crt".into(), map("kube-root-ca.crt", json!({})).into());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_snapshot(Path::new(&path("good.db")), &objects);
    objects.insert("secrets/default/sealed".into(), b"k8s:enc:aescbc:v1:key1:\x01\x02".to_vec());
    objects.insert("gadgets/default/g".into(), b"{}".to_vec());
    write_snapshot(Path::new(&path("some.db")), &objects);

    let cluster = Cluster::start(1, 0);
    cluster.kubectl_ok(&["create", "configmap", "both", "--from-literal=from=target"]);
    let dry = import(&cluster, &["--file", &path("good.db"), "--dry-run", "--overwrite"]);
    assert!(dry.status.success() && text(&dry).contains("WOULD TAKE"), "{}", text(&dry));
    let refused = import(&cluster, &["--file", &path("good.db")]);
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("configmaps/default/both among them"), "{said}");
    let written = cluster.kubectl(&["get", "--raw", &format!("{}/nameValue", KINDS[2].2)]);
    assert!(!written.status.success(), "nothing was written");

    let some = import(&cluster, &["--file", &path("some.db"), "--overwrite"]);
    let said = text(&some);
    assert!(!some.status.success() && said.contains("2 objects of the source could not be taken"), "{said}");
    assert!(said.contains("secrets/default/sealed") && said.contains("gadgets/default/g"), "{said}");
    for (name, _, path) in KINDS {
        let expected = std::fs::read(codec.join(format!("{name}.json"))).unwrap();
        let expected = comparable(serde_json::from_slice(&expected).unwrap());
        // The server's cache follows what was written.
        let got = eventually(name, || {
            let output = cluster.kubectl(&["get", "--raw", &format!("{path}/nameValue")]);
            if output.status.success() { Ok(output.stdout) } else { Err(text(&output)) }
        });
        assert_eq!(comparable(serde_json::from_slice(&got).unwrap()), expected, "{name}");
    }
    assert_eq!(get(&cluster, "/api/v1/namespaces/default/configmaps/both")["data"]["from"], "source");
    let root = get(&cluster, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt");
    assert_ne!(root["metadata"]["uid"], "11", "the target keeps its own authority");
    let again = import(&cluster, &["--file", &path("good.db")]);
    assert!(again.status.success(), "a second time finds everything there: {}", text(&again));

    let mut damaged = std::fs::read(path("good.db")).unwrap();
    damaged[9_000] ^= 1;
    std::fs::write(path("damaged.db"), damaged).unwrap();
    let refused = import(&cluster, &["--file", &path("damaged.db")]);
    assert!(text(&refused).contains("SHA-256"), "{}", text(&refused));
}

#[test]
fn nobody_else_leads_while_objects_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.db");
    let map = |n: u32| {
        let metadata = json!({"name": format!("m{n}"), "namespace": "default", "uid": format!("u{n}")});
        let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"n": "1"}});
        (format!("configmaps/default/m{n}"), map.to_string().into_bytes())
    };
    write_snapshot(&file, &(0..100_000).map(map).collect());
    let cluster = Cluster::start(1, 0);
    let lease = |name: &str| {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}");
        let spec = get(&cluster, &path)["spec"].clone();
        [&spec["holderIdentity"], &spec["renewTime"]].map(|value| value.as_str().unwrap_or("").to_owned())
    };
    let names = ["kube-controller-manager", "kube-scheduler"];
    eventually("leaders", || match names.map(lease) {
        [[one, _], [other, _]] if !one.is_empty() && !other.is_empty() => Ok(()),
        leases => Err(format!("{leases:?}")),
    });
    let log = folder.path().join("log");
    let mut importing = Command::new(support::TRIREME)
        .args(["import", "etcd", "--dir", cluster.dir.to_str().unwrap(), "--file", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut seen: [Vec<[String; 2]>; 2] = Default::default();
    let (mut first_held, mut last_held) = (None, None);
    let done = loop {
        for (seen, name) in seen.iter_mut().zip(names) {
            let now = lease(name);
            if now[0] == "trireme-import" {
                last_held = Some(Instant::now());
                first_held = first_held.or(last_held);
            }
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        if let Some(done) = importing.try_wait().unwrap() {
            break done;
        }
    };
    assert!(done.success(), "{}", std::fs::read_to_string(&log).unwrap());
    let seconds =
        last_held.expect("it was never held").duration_since(first_held.unwrap()).as_secs() as usize;
    for seen in seen {
        let held = |of: &[String; 2]| of[0] == "trireme-import";
        let first = seen.iter().position(held).unwrap_or_else(|| panic!("it was never held: {seen:?}"));
        let last = seen.iter().rposition(held).unwrap();
        assert!(seen[first..=last].iter().all(held), "another led meanwhile: {seen:?}");
        // Every 300 ms; how long the import takes is the machine's.
        assert!(last - first >= seconds.max(1), "it was not renewed: {seen:?}");
    }
    eventually("leaders again", || match names.map(lease) {
        [[one, _], [other, _]] if [&one, &other].iter().all(|h| !h.is_empty() && *h != "trireme-import") => {
            Ok(())
        }
        leases => Err(format!("{leases:?}")),
    });
}

/// A real etcd with certificates; killed when dropped.
struct Etcd {
    child: Child,
    endpoint: String,
    dir: PathBuf,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    /// Starts one from a snapshot file; `None`, and said, where the tools are not installed.
    fn from_snapshot(file: &str, dir: &Path) -> Option<Etcd> {
        let files = certificates(dir);
        let address = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (client, peer) = (address().to_string(), format!("http://{}", address()));
        let (data, initial, url) = (dir.join("data"), format!("one={peer}"), format!("https://{client}"));
        let restored = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore", file, "--name", "one", "--initial-cluster", &initial])
            .args(["--initial-advertise-peer-urls", &peer, "--data-dir"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(restored.status.success(), "{}", text(&restored));
        let child = Command::new("etcd")
            .args(["--name", "one", "--unsafe-no-fsync", "--client-cert-auth", "--initial-cluster", &initial])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--trusted-ca-file", &files[0], "--cert-file", &files[1], "--key-file", &files[2]])
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("etcd.log")).unwrap())
            .spawn();
        Some(Etcd { child: child.unwrap(), endpoint: client, dir: dir.to_owned() })
    }

    fn arguments(&self) -> Vec<String> {
        let file = |name: &str| self.dir.join(name).to_str().unwrap().to_owned();
        let pairs = [("--cacert", file("ca.pem")), ("--cert", file("cert.pem")), ("--key", file("key.pem"))];
        let mut arguments = vec!["--endpoints".to_owned(), self.endpoint.clone()];
        arguments.extend(pairs.into_iter().flat_map(|(flag, file)| [flag.to_owned(), file]));
        arguments
    }
}

/// An authority and one certificate for server and client.
fn certificates(dir: &Path) -> [String; 3] {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "etcd-ca");
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let cert = leaf.signed_by(&key, &issuer).unwrap().pem();
    [("ca.pem", ca_pem), ("cert.pem", cert), ("key.pem", key.serialize_pem())].map(|(name, pem)| {
        let path = dir.join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

fn installed() -> bool {
    let there = ["etcd", "etcdctl"].iter().all(|tool| Command::new(tool).arg("--help").output().is_ok());
    if !there {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let skipped = format_args!("skipped: {name}: etcd and etcdctl are not installed\n");
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), skipped);
    }
    there
}

/// `kind/name: uid` of what a workload consists of.
fn workload(cluster: &Cluster) -> Vec<String> {
    let columns = "custom-columns=K:.kind,N:.metadata.name,U:.metadata.uid";
    let listed = cluster.kubectl_ok(&[
        "-n",
        "shop",
        "get",
        "deployments,replicasets,pods,services",
        "--no-headers",
        "-o",
        columns,
    ]);
    let mut lines: Vec<_> = listed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_workload_moves_by_way_of_a_running_etcd_and_nothing_of_it_is_made_twice() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.db").to_str().unwrap().to_owned();
    let expected = {
        let cluster = Cluster::start(1, 1);
        cluster.namespace("shop");
        cluster.kubectl_ok(&["-n", "shop", "create", "deployment", "web", "--image=web:1", "--replicas=3"]);
        cluster.kubectl_ok(&[
            "-n",
            "shop",
            "create",
            "service",
            "nodeport",
            "web",
            "--tcp=80:80",
            "--node-port=30123",
        ]);
        cluster.kubectl_ok(&["-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s"]);
        let saved = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &cluster.store(1), "--cacert"])
            .arg(cluster.pki("store-ca.crt"))
            .arg("--cert")
            .arg(cluster.pki("store-client.crt"))
            .arg("--key")
            .arg(cluster.pki("store-client.key"))
            .args(["snapshot", "save", &file])
            .output()
            .unwrap();
        assert!(saved.status.success(), "{}", text(&saved));
        workload(&cluster)
    };
    assert_eq!(expected.len(), 1 + 1 + 3 + 1, "{expected:?}");
    let Some(etcd) = Etcd::from_snapshot(&file, folder.path()) else { return };

    let cluster = Cluster::start(1, 0);
    let arguments = etcd.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let imported = eventually("the import", || {
        let output = import(&cluster, &arguments);
        if output.status.success() { Ok(text(&output)) } else { Err(text(&output)) }
    });
    assert!(imported.contains("deployments.apps"), "{imported}");
    // Controllers lead again, and find nothing to do for what was taken.
    eventually("a leader of the controllers", || {
        let holder = cluster.status()["leaders"]["controllers"].clone();
        if holder.as_str().is_some_and(|holder| holder != "trireme-import") {
            Ok(())
        } else {
            Err(holder.to_string())
        }
    });
    cluster.kubectl_ok(&["-n", "shop", "scale", "deployment/web", "--replicas=4"]);
    let grown = eventually("a fourth pod", || {
        let now = workload(&cluster);
        if now.len() == expected.len() + 1 { Ok(now) } else { Err(format!("{now:?}")) }
    });
    for line in &expected {
        assert!(grown.contains(line), "{line} is not in {grown:?}");
    }
    let taken = cluster.kubectl(&[
        "-n",
        "shop",
        "create",
        "service",
        "nodeport",
        "other",
        "--tcp=80:80",
        "--node-port=30123",
    ]);
    assert!(text(&taken).contains("already allocated"), "{}", text(&taken));
}
