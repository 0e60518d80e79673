//! The client over real TLS connections to real API servers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, value};
use trireme_apiserver::{Server, ServerConfig, ServiceAccountKeys, TlsMaterial};
use trireme_client::resource::CONFIG_MAPS;
use trireme_client::tls::{Identity, client_config};
use trireme_client::{
    Client, DeleteOptions, Error, Http, HttpConfig, InformerFactory, ListParams, PatchKind, Scope,
};
use trireme_store::engine::Model;
use trireme_store::{Kv, Local, Store};

/// Nothing here takes so long unless it never happens.
const DEADLINE: Duration = Duration::from_secs(30);

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().unwrap();
        Authority { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Certificate and key for a name in a group; `host` for servers.
    fn issue(&self, name: &str, group: &str, host: Option<&str>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(host.map(str::to_owned).into_iter().collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn store() -> Arc<dyn Kv> {
    let clock: trireme_store::Clock = Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |d| d.as_millis() as i64)
    });
    Arc::new(Local::new(Store::open(Arc::new(Model::new())).unwrap(), clock).unwrap())
}

/// A server on the store, and its address.
async fn serve(authority: &Authority, kv: Arc<dyn Kv>, name: &str) -> (Server, String) {
    let (certificate, key) = authority.issue(name, "", Some("127.0.0.1"));
    let signing = KeyPair::generate().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::new(ServerConfig {
        kv,
        tls: TlsMaterial {
            certificate_chain_pem: certificate.into_bytes(),
            private_key_pem: key.into_bytes(),
            client_ca_pem: authority.pem().into_bytes(),
        },
        service_accounts: ServiceAccountKeys {
            signing_key_pem: signing.serialize_pem().into_bytes(),
            verifying_keys_pem: vec![signing.public_key_pem().into_bytes()],
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            audiences: Vec::new(),
        },
        service_cidr: "10.96.0.0/12".into(),
        node_ports: 30_000..=32_767,
        advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        advertise_port: port,
        identity: name.into(),
    })
    .unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    until("the server is ready", || server.is_ready()).await;
    (server, format!("https://127.0.0.1:{port}"))
}

async fn until(what: &str, good: impl Fn() -> bool) {
    let started = Instant::now();
    while !good() {
        assert!(started.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn client(authority: &Authority, trusted: &str, endpoints: Vec<String>) -> Client {
    let (certificate, key) = authority.issue("admin", "system:masters", None);
    let identity = Identity { certificate: certificate.as_bytes(), key: key.as_bytes() };
    let http = Http::new(HttpConfig {
        endpoints,
        tls: client_config(trusted.as_bytes(), Some(identity)).unwrap(),
        token: None,
        server_name: None,
        user_agent: "test".into(),
    });
    Client::new(Arc::new(http.unwrap()))
}

fn config_map(name: &str) -> Object {
    Object(
        value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}),
    )
}

/// A port where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_and_errors() {
    let authority = Authority::new();
    let (_server, url) = serve(&authority, store(), "one").await;
    let c = client(&authority, &authority.pem(), vec![nobody().await, url.clone()]);
    for i in 0..7 {
        c.create(&CONFIG_MAPS, "default", &config_map(&format!("m{i}"))).await.unwrap();
    }
    let again = c.create(&CONFIG_MAPS, "default", &config_map("m0")).await.unwrap_err();
    assert!(again.is_already_exists(), "{again}");
    let patch = value!({"data": {"a": "b"}});
    let patched = c.patch(&CONFIG_MAPS, "default", "m0", "", PatchKind::Merge, &patch).await.unwrap();
    assert_eq!(patched["data"]["a"], "b");
    let mut stale = patched.clone();
    stale.metadata_mut().set("resourceVersion", "1");
    assert!(c.update(&CONFIG_MAPS, &stale).await.unwrap_err().is_conflict());

    let page = ListParams { limit: 3, ..ListParams::default() };
    let first = c.list(&CONFIG_MAPS, Some("default"), &page).await.unwrap();
    assert_eq!((first.items.len(), first.continue_token.is_empty()), (3, false));
    let all =
        c.list_all(&CONFIG_MAPS, Some("default"), &ListParams::fields("metadata.name!=m1")).await.unwrap();
    assert_eq!(all.items.len(), 6);
    assert!(all.items.iter().all(|o| o.kind() == "ConfigMap"));

    c.delete(&CONFIG_MAPS, "default", "m0", &DeleteOptions::uid(patched.uid())).await.unwrap();
    assert!(c.get(&CONFIG_MAPS, "default", "m0").await.unwrap_err().is_not_found());

    let stranger = Authority::new();
    let distrusted = client(&authority, &stranger.pem(), vec![url.clone()]);
    let refused = distrusted.get(&CONFIG_MAPS, "default", "m1").await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable(_)), "{refused}");
    let unknown = client(&stranger, &authority.pem(), vec![url]);
    assert_eq!(unknown.get(&CONFIG_MAPS, "default", "m1").await.unwrap_err().status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_goes_on_at_another_server_and_forgets_nothing() {
    let authority = Authority::new();
    let kv = store();
    let (first, first_url) = serve(&authority, kv.clone(), "one").await;
    let (_second, second_url) = serve(&authority, kv, "two").await;
    let direct = client(&authority, &authority.pem(), vec![second_url.clone()]);
    direct.create(&CONFIG_MAPS, "default", &config_map("before")).await.unwrap();

    let stop = CancellationToken::new();
    let watching = client(&authority, &authority.pem(), vec![first_url, second_url]);
    let informers = InformerFactory::new(watching, stop.clone());
    let scope = Scope {
        namespace: Some("default".into()),
        field_selector: "metadata.name!=kube-root-ca.crt".into(),
        ..Scope::default()
    };
    let cache = informers.scoped(&CONFIG_MAPS, scope);
    let said = Arc::new(Mutex::new(Vec::new()));
    let _subscription = cache.on_change({
        let said = said.clone();
        move |change| {
            let sign = match (&change.old, change.deleted()) {
                (_, true) => '-',
                (None, _) => '+',
                _ => '~',
            };
            said.lock().push(format!("{sign}{}", change.object().name()));
        }
    });
    let heard = |what: &'static str| {
        let said = said.clone();
        async move { until(what, || said.lock().iter().any(|s| s == what)).await }
    };
    heard("+before").await;
    direct.create(&CONFIG_MAPS, "default", &config_map("live")).await.unwrap();
    heard("+live").await;

    first.stop();
    direct.create(&CONFIG_MAPS, "default", &config_map("meanwhile")).await.unwrap();
    direct.delete(&CONFIG_MAPS, "default", "live", &DeleteOptions::default()).await.unwrap();
    heard("+meanwhile").await;
    heard("-live").await;
    let patch = value!({"data": {"a": "b"}});
    direct.patch(&CONFIG_MAPS, "default", "before", "", PatchKind::Merge, &patch).await.unwrap();
    heard("~before").await;
    assert_eq!(*said.lock(), ["+before", "+live", "+meanwhile", "-live", "~before"], "each once, in order");

    // Filling it anew changes nothing that has not changed.
    cache.refresh().await;
    assert_eq!((said.lock().len(), cache.store().len()), (5, 2));
    stop.cancel();
}
