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
            Action::Delete | Action::Recreate { .. } => self.delete(step, true).await,
        };
        match answer {
            Ok(_) => Check::Accepted,
            Err(error) => Check::Refused(error.to_string()),
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
