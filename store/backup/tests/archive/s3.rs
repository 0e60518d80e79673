//! Over S3's protocol, where no stock server is installed (`s3_stock.rs` has one). This one is minimal
//! and made for this test: what the archive asks of storage (put if absent, ranges, lists in pages,
//! deletion of many), and nothing else; signatures are not looked at.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use trireme_backup::{Archive, Error, Location, Point};

use crate::member::{CLUSTER, Member, Working, config, key};

const BUCKET: &str = "/backups/";
/// Small, so that lists take several.
const PAGE: usize = 3;

#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    pages: Mutex<usize>,
}

impl Bucket {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let query: BTreeMap<String, String> =
            parts.uri.query().unwrap_or_default().split('&').map(pair).collect();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let path = percent_decode_str(parts.uri.path()).decode_utf8().expect("UTF-8").into_owned();
        let name = path.strip_prefix(BUCKET).unwrap_or_default().to_owned();
        let authorized = header("authorization").is_some_and(|value| value.contains("Credential=keeper/"));
        if !authorized || !format!("{path}/").starts_with(BUCKET) {
            return Ok(reply(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>"));
        }
        let mut objects = self.objects.lock();
        Ok(match parts.method {
            Method::PUT if header("if-none-match") == Some("*") && objects.contains_key(&name) => {
                reply(StatusCode::PRECONDITION_FAILED, "<Error><Code>PreconditionFailed</Code></Error>")
            }
            Method::PUT => {
                objects.insert(name, body);
                reply(StatusCode::OK, "")
            }
            Method::POST if query.contains_key("delete") => {
                let body = String::from_utf8(body.to_vec()).expect("XML");
                let mut deleted = String::new();
                for part in body.split("<Key>").skip(1) {
                    let name = part.split("</Key>").next().expect("a key");
                    objects.remove(name);
                    deleted += &format!("<Deleted><Key>{name}</Key></Deleted>");
                }
                reply(StatusCode::OK, format!("<DeleteResult>{deleted}</DeleteResult>"))
            }
            Method::DELETE => {
                objects.remove(&name);
                reply(StatusCode::NO_CONTENT, "")
            }
            Method::GET if query.contains_key("list-type") => {
                *self.pages.lock() += 1;
                reply(StatusCode::OK, list(&objects, &query))
            }
            Method::GET | Method::HEAD => match objects.get(&name) {
                None => reply(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>"),
                Some(object) => reply(StatusCode::OK, object.clone()),
            },
            _ => reply(StatusCode::METHOD_NOT_ALLOWED, ""),
        })
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.into(), percent_decode_str(value).decode_utf8().expect("UTF-8").into_owned())
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("etag", "\"1\"")
        .header("last-modified", "Fri, 20 Nov 2026 10:42:00 GMT")
        .body(Full::new(body.into()))
        .expect("a response")
}

fn list(objects: &BTreeMap<String, Bytes>, query: &BTreeMap<String, String>) -> String {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = query.get("continuation-token").map_or("", String::as_str);
    let mut xml = String::from("<ListBucketResult>");
    let (mut count, mut last, mut common) = (0, String::new(), String::new());
    let mut more = false;
    for (name, object) in objects.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after)
    {
        if count == PAGE {
            more = true;
            break;
        }
        last.clone_from(name);
        let folder = name[prefix.len()..].split_once('/').filter(|_| query.contains_key("delimiter"));
        if let Some((folder, _)) = folder {
            let folder = format!("{prefix}{folder}/");
            if folder != common {
                xml += &format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
                common = folder;
                count += 1;
            }
            continue;
        }
        count += 1;
        let size = object.len();
        xml += &format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-20T10:42:00.000Z</LastModified>\
             <ETag>\"1\"</ETag><Size>{size}</Size></Contents>"
        );
    }
    xml += &format!("<KeyCount>{count}</KeyCount><IsTruncated>{more}</IsTruncated>");
    if more {
        xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    xml + "</ListBucketResult>"
}

async fn serve(bucket: Arc<Bucket>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let bucket = bucket.clone();
            let service = hyper::service::service_fn(move |request| bucket.clone().answer(request));
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    port
}

pub fn location(dir: &std::path::Path, port: u16, user: &str, mode: u32) -> Location {
    let path = dir.join(format!("credentials-{user}-{mode:o}"));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
    let text = format!(
        "# for the test\nAWS_ACCESS_KEY_ID={user}\nAWS_SECRET_ACCESS_KEY='secret'\nAWS_REGION=nowhere\n\
         AWS_ENDPOINT=http://127.0.0.1:{port}\nexport AWS_ALLOW_HTTP=true\n"
    );
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let mut location: Location = "s3://backups/of/ours".parse().unwrap();
    location.credentials = Some(path);
    location
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_lives_in_a_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Arc::new(Bucket::default());
    let port = serve(bucket.clone()).await;
    let location = location(dir.path(), port, "keeper", 0o600);
    let member = Member::new(&dir.path().join("state"));
    member.write(40);
    let open = || Archive::of_cluster(&location, key(), CLUSTER).unwrap();
    let mut one = Working::start(open(), &member, config(&dir.path().join("one")));
    let mut two = Working::start(open(), &member, config(&dir.path().join("two")));
    for _ in 0..6 {
        member.write(15);
        one.reaches(member.last_index()).await;
        two.reaches(member.last_index()).await;
    }
    drop((one, two));
    assert!(
        bucket.objects.lock().keys().all(|name| name.starts_with("of/ours/trireme-")),
        "outside its prefix"
    );
    let archive = Archive::open(&location, key()).await.unwrap();
    let made = archive.materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied());
    assert!(*bucket.pages.lock() > 4, "lists were not in pages");
    // Two bases were made at the start, and what is older than the newest goes.
    let retention = trireme_backup::Retention { keep: std::time::Duration::ZERO };
    let before = bucket.objects.lock().len();
    let pruned = archive.prune(retention, i64::MAX, false).await.unwrap();
    assert_eq!(bucket.objects.lock().len(), before - pruned.paths.len());
    let verified = archive.verify(&dir.path().join("verify"), &|_, _| {}).await.unwrap();
    assert!(verified.problems.is_empty(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_once_and_wrong_credentials_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Arc::new(Bucket::default());
    let port = serve(bucket.clone()).await;
    let member = Member::new(&dir.path().join("state"));
    member.write(20);
    let mut stranger = Working::start(
        Archive::of_cluster(&location(dir.path(), port, "stranger", 0o600), key(), CLUSTER).unwrap(),
        &member,
        config(&dir.path().join("stranger")),
    );
    stranger.until("the refusal", |told| told.problem.is_some()).await;
    drop(stranger);
    let open = Archive::of_cluster(&location(dir.path(), port, "keeper", 0o640), key(), CLUSTER);
    let refused = open.err().expect("a file that others can read was taken").to_string();
    assert!(refused.contains("0640"), "{refused}");

    let good = location(dir.path(), port, "keeper", 0o600);
    let archive = Archive::of_cluster(&good, key(), CLUSTER).unwrap();
    let mut one = Working::start(archive.clone(), &member, config(&dir.path().join("one")));
    one.reaches(19).await;
    member.write(5);
    one.reaches(24).await;
    drop(one);
    // Who archives the same range again finds it there, and goes on.
    let log = bucket
        .objects
        .lock()
        .iter()
        .find(|(name, _)| name.contains("/log/"))
        .map(|(n, o)| (n.clone(), o.clone()));
    let (name, object) = log.expect("an object of log");
    bucket.objects.lock().retain(|name, _| !name.contains("/log/"));
    let mut other = Working::start(archive.clone(), &member, config(&dir.path().join("other")));
    bucket.objects.lock().insert(name, object);
    other.reaches(24).await;
    let made = archive.materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied());
    let missing = archive.materialize(Point::Revision(i64::MAX), &dir.path().join("x"), &|_| {}).await;
    assert!(matches!(missing, Err(Error::Beyond { .. })), "{missing:?}");
}
