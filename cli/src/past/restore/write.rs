//! Carries a plan out through the API: each write a compare-and-swap on what the plan saw.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep};
use trireme_api::{Object, Value, value};
use trireme_client::{Client, Error};

use super::super::kinds::{Kinds, ObjectId};
use super::plan::{Action, Step, Stored};

/// Whose writes they are, in the record of who owns which field.
const MANAGER: &str = "trireme-restore";
/// Between looks at something that is going.
const POLL: Duration = Duration::from_millis(200);

/// What the server says to a write that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Accepted,
    Refused(String),
    /// It cannot be asked yet.
    Unchecked(&'static str),
}

/// Why a step was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody else wrote in between, or it is not known what became of the write: look again.
    Again(String),
    Refused(String),
    /// It waits for something that did not come about.
    Blocked(String),
}

pub(super) struct Writer<'a> {
    pub client: &'a Client,
    pub kinds: &'a Kinds,
    /// How long to wait for what is being deleted.
    pub patience: Duration,
    /// Of objects that were made.
    pub uids: HashMap<ObjectId, String>,
}

impl Writer<'_> {
    /// Asks the server what it would say. Changes nothing.
    pub(super) async fn check(&self, step: &Step) -> Check {
        let object = without_open_owners(step);
        let answer = match step.action {
            Action::Create if step.ending.is_some() => {
                return Check::Unchecked("what has its name is still being deleted");
            }
            Action::Create => self.post(step, &object, true).await,
            Action::Update => self.put(step, &object, true).await,
            Action::Delete => self.delete(step, true).await,
            Action::Recreate { .. } => match self.would_take(step, &object).await {
                Ok(()) => self.delete(step, true).await,
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(_) => Check::Accepted,
            Err(error) => Check::Refused(error.to_string()),
        }
    }

    /// Asks the server whether it would take an object in the place of the one that is still there:
    /// that its name is taken is the last thing it finds.
    async fn would_take(&self, step: &Step, object: &Value) -> Result<(), Error> {
        match self.post(step, &without_what_is_held(step, object), true).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Does it.
    pub(super) async fn carry_out(&mut self, step: &Step) -> Result<(), Failure> {
        let mut object = step.object.clone();
        for (place, owner) in &step.owners {
            let Some(uid) = self.uids.get(owner) else {
                return Err(Failure::Blocked(format!("its owner {owner} was not restored")));
            };
            let references = object.at_mut(&["metadata", "ownerReferences"]);
            if let Some(reference) = references.and_then(|list| list.items_mut().get_mut(*place)) {
                reference.make(&[]).set("uid", uid.as_str());
            }
        }
        let done = match step.action {
            Action::Create => {
                if let (Some(finalizers), Some(now)) = (&step.ending, &step.now) {
                    self.await_end(step, now.uid(), finalizers).await?;
                }
                self.post(step, &object, false).await
            }
            Action::Update => self.put(step, &object, false).await,
            Action::Delete => self.delete(step, false).await,
            Action::Recreate { .. } => {
                // Also here: a refusal may have been passed over, or what it needs be gone since.
                self.would_take(step, &object).await.map_err(failure)?;
                self.delete(step, false).await.map_err(failure)?;
                let uid = step.now.as_ref().map(Stored::uid).unwrap_or_default();
                self.await_end(step, uid, &[]).await?;
                self.post(step, &object, false).await
            }
        };
        let written = done.map_err(failure)?;
        if step.action != Action::Delete {
            self.uids.insert(step.id.clone(), written.uid().to_owned());
        }
        Ok(())
    }

    async fn post(&self, step: &Step, object: &Value, dry: bool) -> Result<Object, Error> {
        let path = self.row(step)?.collection(object).collection(Some(&step.id.namespace));
        self.client.raw(Method::POST, &with_query(&path, dry), Some(object)).await
    }

    async fn put(&self, step: &Step, object: &Value, dry: bool) -> Result<Object, Error> {
        let path = self.path(step, object)?;
        self.client.raw(Method::PUT, &with_query(&path, dry), Some(object)).await
    }

    /// Of this very version.
    async fn delete(&self, step: &Step, dry: bool) -> Result<Object, Error> {
        let Some(now) = &step.now else { return Err(Error::Decode(format!("{} is not there", step.id))) };
        let propagation = match step.action {
            Action::Recreate { orphan: true } => "Orphan",
            _ => "Background",
        };
        let mut body = value!({
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation,
            "preconditions": {"uid": now.uid(), "resourceVersion": now.revision.to_string()},
        });
        if dry {
            body.make(&[]).set("dryRun", vec!["All"]);
        }
        let path = self.path(step, &now.object)?;
        self.client.raw(Method::DELETE, &path, Some(&body)).await
    }

    fn row(&self, step: &Step) -> Result<&super::super::kinds::Row, Error> {
        let row = self.kinds.get(&step.id.resource);
        row.ok_or_else(|| Error::Decode(format!("{} is of no known kind", step.id)))
    }

    fn path(&self, step: &Step, object: &Value) -> Result<String, Error> {
        Ok(self.row(step)?.collection(object).object(&step.id.namespace, &step.id.name))
    }

    /// Waits until the object that had this uid is gone.
    async fn await_end(&self, step: &Step, uid: &str, finalizers: &[String]) -> Result<(), Failure> {
        let path = self.path(step, &step.object).map_err(failure)?;
        let deadline = Instant::now() + self.patience;
        loop {
            match self.client.raw(Method::GET, &path, None).await {
                Err(error) if error.is_not_found() => return Ok(()),
                Ok(found) if found.uid() != uid => {
                    return Err(Failure::Again("another object has its name by now".into()));
                }
                Ok(_) if Instant::now() < deadline => sleep(POLL).await,
                Ok(found) => {
                    let holds = found.metadata()["finalizers"].items().iter();
                    let mut holds: Vec<String> = holds.map(|f| f.str_or_empty().to_owned()).collect();
                    if holds.is_empty() {
                        holds = finalizers.to_vec();
                    }
                    let by = if holds.is_empty() {
                        String::new()
                    } else {
                        format!(" (finalizers: {})", holds.join(", "))
                    };
                    return Err(Failure::Blocked(format!(
                        "it is still being deleted{by}: run this again when it is gone"
                    )));
                }
                Err(error) => return Err(failure(error)),
            }
        }
    }
}

/// A server that does not know the owner yet would refuse the reference.
fn without_open_owners(step: &Step) -> Value {
    let mut object = step.object.clone();
    if !step.owners.is_empty()
        && let Some(references) =
            object.at_mut(&["metadata", "ownerReferences"]).and_then(Value::as_array_mut)
    {
        references.retain(|reference| !reference["uid"].is_null());
    }
    object
}

/// A Service's addresses and node ports are taken as long as it is there itself, which the server
/// finds before the name: it is asked without those that get free.
fn without_what_is_held(step: &Step, object: &Value) -> Value {
    let mut object = object.clone();
    let Some(held) = step.now.as_ref().map(|now| &now.object["spec"]) else { return object };
    if step.id.resource != "services" {
        return object;
    }
    let ports_of = |spec: &Value| {
        let ports = spec["ports"].items().iter().map(|port| &port["nodePort"]);
        let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_i64);
        ports.collect::<Vec<_>>()
    };
    let (address, ports) = (held["clusterIP"].str_or_empty(), ports_of(held));
    let is_held = |port: &Value| port.as_i64().is_some_and(|port| ports.contains(&port));
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return object };
    // `None` is nobody's address.
    let same_address = address != "None" && spec.get("clusterIP").is_some_and(|own| *own == *address);
    spec.retain(|key, value| match &**key {
        "clusterIP" | "clusterIPs" => !same_address,
        "healthCheckNodePort" => !is_held(value),
        _ => true,
    });
    for port in object.at_mut(&["spec", "ports"]).map(Value::items_mut).into_iter().flatten() {
        if is_held(&port["nodePort"])
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
    object
}

fn with_query(path: &str, dry: bool) -> String {
    let dry = if dry { "&dryRun=All" } else { "" };
    format!("{path}?fieldManager={MANAGER}{dry}")
}

fn failure(error: Error) -> Failure {
    match &error {
        Error::OutcomeUnknown(_) => Failure::Again(error.to_string()),
        _ if error.is_conflict() || error.is_already_exists() || error.is_not_found() => {
            Failure::Again(error.to_string())
        }
        _ => Failure::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_for_without_what_it_holds_itself() {
        let service = |address: &str, ports: [i64; 2], health: i64| {
            value!({"spec": {
                "clusterIP": address, "clusterIPs": [address], "healthCheckNodePort": health,
                "ports": [{"port": 1, "nodePort": ports[0]}, {"port": 2, "nodePort": ports[1]}],
            }})
        };
        let check = |resource: &str, then: Value, expected: Value| {
            let now = service("10.0.0.1", [30_001, 30_002], 30_003);
            let step = Step {
                id: ObjectId::new(resource, "shop", "web"),
                action: Action::Recreate { orphan: false },
                object: then.clone(),
                owners: Vec::new(),
                now: Some(Stored { object: now, revision: 7 }),
                ending: None,
                notes: Vec::new(),
            };
            assert_eq!(without_what_is_held(&step, &then), expected);
        };
        let free = service("10.0.0.2", [30_005, 30_006], 30_007);
        check("services", free.clone(), free);
        let all = service("10.0.0.1", [30_002, 30_003], 30_001);
        check("services", all.clone(), value!({"spec": {"ports": [{"port": 1}, {"port": 2}]}}));
        check("widgets.example.com", all.clone(), all);
        let headless = service("None", [0, 30_002], 0);
        let mut expected = service("None", [0, 0], 0);
        expected.make(&["spec"]).set("ports", value!([{"port": 1, "nodePort": 0}, {"port": 2}]));
        check("services", headless, expected);
    }
}
