//! Traffic through the balancer to the API: ConfigMaps that count up.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_api::Object;
use trireme_api::tree::Value;
use trireme_client::resource::CONFIG_MAPS;
use trireme_client::{Client, Error, ListParams, WatchEvent};

use super::{ANSWER_TIMEOUT, KEYS_PER_CLIENT, PAUSE, READ_EVERY};
use crate::history::{Call, Outcome, Recorder, Watcher};

pub const NAMESPACE: &str = "default";
pub const PREFIX: &str = "configmap/";
const SELECTOR: &str = "chaos=traffic";
const LIST_RETRIES_MAX: u32 = 500;
const WATCH_TIMEOUT: Duration = Duration::from_secs(300);

fn name(client: u32, n: u64) -> String {
    format!("chaos-{client}-{n}")
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn value_of(object: &Object) -> Option<u64> {
    object["data"]["value"].as_str()?.parse().ok()
}

fn revision_of(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

fn config_map(name: &str, value: u64, resource_version: &str) -> Object {
    let mut metadata = Value::object();
    metadata.make(&[]).insert("name", name);
    metadata.make(&[]).insert("namespace", NAMESPACE);
    metadata.make(&["labels"]).insert("chaos", "traffic");
    if !resource_version.is_empty() {
        metadata.make(&[]).insert("resourceVersion", resource_version);
    }
    let mut object = Value::object();
    object.make(&[]).insert("apiVersion", "v1");
    object.make(&[]).insert("kind", "ConfigMap");
    object.make(&[]).insert("metadata", metadata);
    object.make(&["data"]).insert("value", value.to_string().as_str());
    Object(object)
}

/// Writes and reads until `stop`.
pub async fn client(
    id: u32,
    clients: u32,
    seed: u64,
    api: Client,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let mut random = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32));
    // The resource version known of each key; empty where it is not there.
    let mut known = vec![String::new(); KEYS_PER_CLIENT as usize];
    let mut values = vec![0; KEYS_PER_CLIENT as usize];
    let mut turn = 0_u64;
    while !stop.is_cancelled() {
        turn += 1;
        if turn.is_multiple_of(READ_EVERY) {
            let other = name(random.random_range(0..clients), random.random_range(0..KEYS_PER_CLIENT));
            if read(id, &other, &api, &recorder).await.is_none() {
                sleep(PAUSE).await;
            }
            continue;
        }
        let n = random.random_range(0..KEYS_PER_CLIENT);
        let slot = n as usize;
        values[slot] += 1;
        match write(id, &name(id, n), values[slot], &known[slot], &api, &recorder).await {
            Some(version) => known[slot] = version,
            None => {
                sleep(PAUSE).await;
                if let Some(version) = read(id, &name(id, n), &api, &recorder).await {
                    known[slot] = version;
                }
            }
        }
    }
}

async fn write(
    id: u32,
    name: &str,
    value: u64,
    known: &str,
    api: &Client,
    recorder: &Recorder,
) -> Option<String> {
    let object = config_map(name, value, known);
    let begin = recorder.tick();
    let call = async {
        if known.is_empty() {
            api.create(&CONFIG_MAPS, NAMESPACE, &object).await
        } else {
            api.update(&CONFIG_MAPS, &object).await
        }
    };
    let answer = timeout(ANSWER_TIMEOUT, call).await;
    let mut version = None;
    let outcome = match answer {
        Ok(Ok(object)) => {
            version = Some(object.resource_version().to_owned());
            Outcome::Written { revision: revision_of(object.resource_version()) }
        }
        Ok(Err(error)) => failure(&error),
        Err(_) => Outcome::Unknown("no answer".into()),
    };
    recorder.operation(id, begin, Call::Write { key: key(name), value }, outcome).await;
    version
}

/// A server's word that it was refused is believed; a timeout or a server error may have been done.
fn failure(error: &Error) -> Outcome {
    match error {
        Error::Unreachable(_) => Outcome::Refused(error.to_string()),
        Error::Api { status, .. } if (400..500).contains(status) => Outcome::Refused(error.to_string()),
        _ => Outcome::Unknown(error.to_string()),
    }
}

/// The resource version, empty where there is no such object.
async fn read(id: u32, name: &str, api: &Client, recorder: &Recorder) -> Option<String> {
    let begin = recorder.tick();
    let answer = timeout(ANSWER_TIMEOUT, api.get(&CONFIG_MAPS, NAMESPACE, name)).await;
    // A GET shows the object's revision, not the store's.
    let (outcome, version) = match answer {
        Ok(Ok(object)) => (
            Outcome::Read { value: value_of(&object), revision: None },
            Some(object.resource_version().to_owned()),
        ),
        Ok(Err(error)) if error.is_not_found() => {
            (Outcome::Read { value: None, revision: None }, Some(String::new()))
        }
        Ok(Err(error)) => (Outcome::Refused(error.to_string()), None),
        Err(_) => (Outcome::Refused("no answer".into()), None),
    };
    recorder.operation(id, begin, Call::Read { key: key(name) }, outcome).await;
    version
}

/// Follows the ConfigMaps until `stop`. When its place in history is gone (410) it lists and goes
/// on as a new watcher, with a number above `id`.
pub async fn watcher(id: u32, api: Client, recorder: Arc<Recorder>, stop: CancellationToken) {
    let mut number = id;
    while !stop.is_cancelled() {
        let Some(from) = list_version(&api, &stop).await else { break };
        let mut reached = from.clone();
        while !stop.is_cancelled() {
            let gone = tokio::select! {
                () = stop.cancelled() => false,
                gone = follow(number, &mut reached, &api, &recorder) => gone,
            };
            if gone {
                break;
            }
            tokio::select! { () = stop.cancelled() => {}, () = sleep(PAUSE) => {} }
        }
        let watcher = Watcher {
            id: number,
            prefix: PREFIX.into(),
            from: revision_of(&from),
            reached: revision_of(&reached),
        };
        recorder.with(|history| history.watchers.push(watcher)).await;
        number += 1;
    }
}

async fn list_version(api: &Client, stop: &CancellationToken) -> Option<String> {
    for _ in 0..LIST_RETRIES_MAX {
        if stop.is_cancelled() {
            return None;
        }
        let params = ListParams::labels(SELECTOR);
        if let Ok(Ok(list)) = timeout(ANSWER_TIMEOUT, api.list(&CONFIG_MAPS, Some(NAMESPACE), &params)).await
        {
            return Some(list.resource_version);
        }
        sleep(PAUSE).await;
    }
    None
}

/// Whether the place in history is gone.
async fn follow(id: u32, reached: &mut String, api: &Client, recorder: &Recorder) -> bool {
    let params = ListParams { resource_version: reached.clone(), ..ListParams::labels(SELECTOR) };
    let resource = CONFIG_MAPS;
    let watch = api.watch(&resource, Some(NAMESPACE), &params, WATCH_TIMEOUT);
    let mut stream = match timeout(ANSWER_TIMEOUT, watch).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return error.is_gone(),
        Err(_) => return false,
    };
    while let Some(item) = stream.next().await {
        match item {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                let version = object.resource_version().to_owned();
                if let Some(value) = value_of(&object) {
                    recorder.seen(id, [(key(object.name()), value, revision_of(&version))]).await;
                }
                *reached = version;
            }
            Ok(WatchEvent::Deleted(object)) => *reached = object.resource_version().to_owned(),
            Ok(WatchEvent::Bookmark { resource_version, .. }) => *reached = resource_version,
            Err(error) => return error.is_gone(),
        }
    }
    false
}

/// What the API has of the traffic's objects.
pub async fn contents(api: &Client) -> Result<Vec<(String, u64)>, Error> {
    let list = api.list_all(&CONFIG_MAPS, Some(NAMESPACE), &ListParams::labels(SELECTOR)).await?;
    Ok(list.items.iter().filter_map(|object| Some((key(object.name()), value_of(object)?))).collect())
}
