use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::authority::now;
use super::*;
use std::sync::Arc;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("trireme-pki-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

#[test]
fn a_leaf_is_kept_until_two_thirds_of_its_life_are_over() {
    let dir = folder("life");
    let pki = Pki::open_or_create(&dir).unwrap();
    assert!(pki.admin().ensure().unwrap());
    let first = std::fs::read(dir.join("admin.crt")).unwrap();
    assert!(!pki.admin().ensure().unwrap(), "issued again at once");
    let day = Duration::from_secs(24 * 3600);
    assert!(!pki.admin().ensure_at(now() + 240 * day).unwrap());
    assert!(pki.admin().ensure_at(now() + 250 * day).unwrap());
    assert_ne!(std::fs::read(dir.join("admin.crt")).unwrap(), first);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn new_names_and_new_authorities_issue_again() {
    let dir = folder("names");
    let pki = Pki::open_or_create(&dir).unwrap();
    assert!(pki.api_server(&dir, &[]).ensure().unwrap());
    assert!(pki.api_server(&dir, &["10.1.2.3".into()]).ensure().unwrap(), "a name was added");
    assert!(!pki.api_server(&dir, &[]).ensure().unwrap(), "fewer names still serve");
    let other_dir = folder("names-other");
    let other = Pki::open_or_create(&other_dir).unwrap();
    assert!(other.api_server(&dir, &[]).ensure().unwrap(), "signed by another authority");
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::remove_dir_all(other_dir).unwrap();
}

#[test]
fn keys_are_for_their_owner_only() {
    let dir = folder("mode");
    let pki = Pki::open_or_create(&dir).unwrap();
    pki.admin().ensure().unwrap();
    let mut keys = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|e| e == "key") {
            keys += 1;
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }
    assert_eq!(keys, 5);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_complete_folder_is_only_read() {
    let dir = folder("read");
    let first = Pki::open_or_create(&dir).unwrap().cluster;
    let listing = || {
        let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
        let mut all: Vec<_> =
            entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap())).collect();
        all.sort();
        all
    };
    std::fs::remove_file(dir.join(".lock")).unwrap();
    let before = listing();
    assert_eq!(Pki::open_or_create(&dir).unwrap().cluster, first);
    assert_eq!(listing(), before);
    std::fs::remove_file(dir.join("sa.pub")).unwrap();
    Pki::open_or_create(&dir).unwrap();
    assert!(dir.join("sa.pub").exists());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_authority_without_its_key_is_an_error() {
    let dir = folder("half");
    Pki::open_or_create(&dir).unwrap();
    std::fs::remove_file(dir.join("ca.key")).unwrap();
    let error = Pki::open_or_create(&dir).err().expect("half an authority").to_string();
    assert!(error.contains("ca.key"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_renewal_is_told() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let dir = folder("renew");
    let pki = Arc::new(Pki::open_or_create(&dir).unwrap());
    let mut renewer = Renewer::new(pki);
    let files = renewer.keep(Pki::admin).unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    renewer.after(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let before = files.read().unwrap();
    assert!(!renewer.check());
    std::fs::remove_file(&files.cert_path).unwrap();
    assert!(renewer.check());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(files.read().unwrap() != before);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_cluster_keeps_its_name() {
    let dir = folder("name");
    let name = Pki::open_or_create(&dir).unwrap().cluster;
    assert_eq!(Pki::open_or_create(&dir).unwrap().cluster, name);
    let other = folder("name-other");
    assert_ne!(Pki::open_or_create(&other).unwrap().cluster, name);
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::remove_dir_all(other).unwrap();
}

#[test]
fn limits_are_in_the_certificate_and_a_change_of_them_issues_again() {
    use trireme_raft::etcd::access::Grant;
    let dir = folder("limits");
    let pki = Pki::open_or_create(&dir).unwrap();
    let grant = |prefix: &'static str, write| Grant { prefix: prefix.into(), write };
    let ensure =
        |grants: &[Grant]| pki.limited_store_client(&dir, "reader", grants.to_vec()).ensure().unwrap();
    let uris = || {
        let pem = std::fs::read(dir.join("reader.crt")).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let text = String::from_utf8_lossy(&block.contents).into_owned();
        text.matches("trireme:store?").count()
    };
    assert!(ensure(&[grant("/a/", false), grant("/b/", false)]));
    assert_eq!(uris(), 2);
    assert!(!ensure(&[grant("/b/", false), grant("/a/", false)]), "the same limits");
    assert!(ensure(&[grant("/a/", false)]), "fewer prefixes");
    assert!(ensure(&[grant("/a/", true)]), "another access");
    assert!(ensure(&[]), "no limits");
    assert_eq!(uris(), 0);
    assert!(ensure(&[grant("/a/", true)]), "limits again");
    let mode = std::fs::metadata(dir.join("reader.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(dir).unwrap();
}
