//! What a client of the API does, one action at a time.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use trireme_client::{DeleteOptions, ListParams};

use super::objects::{self, CONFIGS, SERVED};
use super::{NAMESPACE, Session};
use crate::history::{ApiCall, ApiFence, ApiObject, ApiOutcome};

/// ConfigMaps that all clients update: few, so that they get into each other's way.
const SHARED: u64 = 6;
/// Services that one client has at a time.
const SERVICES_MAX: usize = 5;
/// Items of a page.
const PAGE: usize = 3;

pub(super) struct Actor {
    pub(super) session: Session,
    pub(super) random: StdRng,
    /// Values written so far.
    written: u64,
    services: Vec<ApiObject>,
    /// The term in which this client believes to lead.
    pub(super) term: Option<ApiFence>,
}

/// Whether an outcome is an answer of the API, and not of what lies before it.
pub(super) fn answered(outcome: &ApiOutcome) -> bool {
    !matches!(outcome, ApiOutcome::Refused(_) | ApiOutcome::Unknown(_))
}

impl Actor {
    pub(super) fn new(session: Session, random: StdRng) -> Actor {
        Actor { session, random, written: 0, services: Vec::new(), term: None }
    }

    /// A value that nobody else writes.
    pub(super) fn value(&mut self) -> String {
        self.written += 1;
        format!("{}.{}", self.session.client, self.written)
    }

    fn shared(&mut self) -> String {
        format!("chaos-{}", self.random.random_range(0..SHARED))
    }

    /// As it is now; `Absent` where it is not.
    pub(super) async fn look_at(&self, resource: &'static str, name: &str) -> ApiOutcome {
        let call = ApiCall::Get { id: objects::id(resource, name) };
        let work = async {
            let object = self.session.api.get(&objects::resource(resource), NAMESPACE, name).await?;
            Ok(ApiOutcome::Found(objects::shown(resource, &object)))
        };
        self.session.call(call, None, work).await
    }

    pub(super) async fn get(&mut self) -> bool {
        let name = self.shared();
        answered(&self.look_at(CONFIGS, &name).await)
    }

    /// Reads and writes, if nobody came between.
    pub(super) async fn update(&mut self) -> bool {
        let (name, value) = (self.shared(), self.value());
        answered(&self.write(&name, &value, None).await)
    }

    /// Creates or updates a ConfigMap, in the name of a term where one is given.
    pub(super) async fn write(&mut self, name: &str, value: &str, fence: Option<ApiFence>) -> ApiOutcome {
        let api = match &fence {
            Some(ApiFence { lease, epoch }) => {
                self.session.api.fenced(trireme_client::Fence::new(lease, *epoch))
            }
            None => self.session.api.clone(),
        };
        let id = objects::id(CONFIGS, name);
        let (version, call) = match self.look_at(CONFIGS, name).await {
            ApiOutcome::Found(object) => {
                let call = ApiCall::Update { id, value: value.to_owned(), base: object.version };
                (object.version.to_string(), call)
            }
            ApiOutcome::Absent => (String::new(), ApiCall::Create { id, value: value.to_owned() }),
            other => return other,
        };
        let object = objects::config_map(name, value, &version);
        let work = async {
            let resource = objects::resource(CONFIGS);
            let done = if version.is_empty() {
                api.create(&resource, NAMESPACE, &object).await?
            } else {
                api.update(&resource, &object).await?
            };
            Ok(ApiOutcome::Changed(objects::shown(CONFIGS, &done)))
        };
        self.session.call(call, fence, work).await
    }

    pub(super) async fn delete_config_map(&mut self) -> bool {
        let name = self.shared();
        match self.look_at(CONFIGS, &name).await {
            ApiOutcome::Found(object) => answered(&self.delete(&object).await),
            outcome => answered(&outcome),
        }
    }

    /// This very object, whatever has its name by then.
    async fn delete(&self, object: &ApiObject) -> ApiOutcome {
        let call = ApiCall::Delete { id: object.id(), uid: object.uid.clone() };
        let name = object.name.split_once('/').map_or(object.name.as_str(), |(_, name)| name);
        let (resource, options) = (objects::resource(&object.resource), DeleteOptions::uid(&object.uid));
        let work = async {
            self.session.api.delete(&resource, NAMESPACE, name, &options).await?;
            Ok(ApiOutcome::Changed(object.clone()))
        };
        self.session.call(call, None, work).await
    }

    pub(super) async fn create_service(&mut self) -> bool {
        if self.services.len() >= SERVICES_MAX {
            return self.delete_service().await;
        }
        let name = format!("chaos-{}-{}", self.session.client, self.random.random_range(0..2 * SERVICES_MAX));
        let value = self.value();
        let call = ApiCall::Create { id: objects::id(SERVED, &name), value: value.clone() };
        let object = objects::service(&name, &value, self.random.random_bool(0.5));
        let work = async {
            let done = self.session.api.create(&objects::resource(SERVED), NAMESPACE, &object).await?;
            Ok(ApiOutcome::Changed(objects::shown(SERVED, &done)))
        };
        let outcome = self.session.call(call, None, work).await;
        match &outcome {
            ApiOutcome::Changed(object) => self.services.push(object.clone()),
            // There may be one of this name by an earlier call of which nothing was heard.
            _ => {
                if let ApiOutcome::Found(object) = self.look_at(SERVED, &name).await
                    && self.services.iter().all(|known| known.uid != object.uid)
                {
                    self.services.push(object);
                }
            }
        }
        answered(&outcome)
    }

    pub(super) async fn delete_service(&mut self) -> bool {
        let Some(object) = self.services.choose(&mut self.random).cloned() else { return true };
        let outcome = self.delete(&object).await;
        if answered(&outcome) {
            self.services.retain(|known| known.uid != object.uid);
        }
        answered(&outcome)
    }

    /// In pages at one version, or whole.
    pub(super) async fn list(&mut self, resource: &'static str, paged: bool) -> bool {
        let call = ApiCall::List { resource: resource.to_owned(), paged };
        let work = async {
            let mut params = ListParams::labels(objects::SELECTOR);
            params.limit = if paged { PAGE } else { 0 };
            let (mut found, mut first) = (Vec::new(), None);
            loop {
                let page =
                    self.session.api.list(&objects::resource(resource), Some(NAMESPACE), &params).await?;
                found.extend(page.items.iter().map(|object| objects::shown(resource, object)));
                let version = *first.get_or_insert(objects::version(&page.resource_version));
                if page.continue_token.is_empty() {
                    return Ok(ApiOutcome::Listed { version, objects: found });
                }
                params.continue_token = page.continue_token;
            }
        };
        answered(&self.session.call(call, None, work).await)
    }
}
