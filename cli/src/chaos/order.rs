//! What the command and the masters say to each other, in ConfigMaps of `kube-system` that any API
//! server shows to all of them.
//!
//! ```text
//!   data:
//!     order:            {"version":1,"deed":"cut-off","member":"master-2","cluster":"…","lastsMs":10000}
//!     member.<id>:      {"state":"begun", …}          the answer of that member, written by itself
//!     led.<term>.<id>:  master-1                      written by whoever leads, as long as this is there
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trireme_api::{Key, Object, Value};
use trireme_raft::FAULT_LASTS_MAX;

pub(super) const NAMESPACE: &str = "kube-system";
/// On orders, and on the namespace that a run works in.
pub(super) const LABEL: &str = "trireme.io/chaos";
pub(super) const ORDER: &str = "order";
pub(super) const LOAD: &str = "load";
/// On `kube-system`: what the cluster is for.
pub(super) const ENVIRONMENT: &str = "trireme.io/environment";
pub(super) const TEST: &str = "test";
/// Of the order's form.
const VERSION: u32 = 1;
/// An order that is older by the API server's stamp is not carried out any more, and one from further
/// in the future neither: clocks that differ by more are not kept.
const AGE_MAX_S: i64 = 60;

/// What a master can be told to do to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(super) enum Deed {
    /// Say how it stands.
    RollCall {
        /// And what the hash of its state at this object's revision is.
        hash: bool,
    },
    /// End without cleaning up, and start again after so long.
    Kill,
    /// Stop in order, and start again.
    Restart,
    CutOff,
    NoRoom,
    ClockOff {
        by_ms: i64,
    },
}

impl Deed {
    /// By which a member says what it cannot do.
    pub(super) fn name(self) -> &'static str {
        match self {
            Deed::RollCall { .. } => "roll-call",
            Deed::Kill => "kill",
            Deed::Restart => "restart",
            Deed::CutOff => "cut-off",
            Deed::NoRoom => "no-room",
            Deed::ClockOff { .. } => "clock-off",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Order {
    version: u32,
    pub deed: Deed,
    /// Name of who is meant; empty at a roll call, which all answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// Id of the store's cluster, which a cluster made of its backup does not share.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(default)]
    lasts_ms: u64,
    /// Also where the cluster is not marked as one for tests.
    #[serde(default)]
    insisted: bool,
}

impl Order {
    pub(super) fn roll_call(hash: bool) -> Order {
        let deed = Deed::RollCall { hash };
        let (member, cluster) = (String::new(), String::new());
        Order { version: VERSION, deed, member, cluster, lasts_ms: 0, insisted: false }
    }

    pub(super) fn new(deed: Deed, member: &str, cluster: &str, lasts: Duration, insisted: bool) -> Order {
        let (member, cluster) = (member.to_owned(), cluster.to_owned());
        Order { version: VERSION, deed, member, cluster, lasts_ms: lasts.as_millis() as u64, insisted }
    }

    pub(super) fn lasts(&self) -> Duration {
        Duration::from_millis(self.lasts_ms)
    }

    /// What an object says; in words, if that is no order.
    pub(super) fn of(object: &Object) -> Result<Order, String> {
        let text = object["data"][ORDER].as_str().ok_or("the order is malformed: data.order is missing")?;
        serde_json::from_str(text).map_err(|error| format!("the order is malformed: data.order: {error}"))
    }

    /// Whether the member that is meant is to carry it out now; why not, in words.
    pub(super) fn check(&self, at: &Situation<'_>) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("version {} of orders is not known: {VERSION} is", self.version));
        }
        if self.cluster != at.cluster {
            return Err(format!("the order is for cluster {:?}, and this is {:?}", self.cluster, at.cluster));
        }
        if at.age_s.is_none_or(|age| age.abs() > AGE_MAX_S) {
            return Err(match at.age_s {
                Some(age) => format!(
                    "the order was given {age} s ago by this master's clock: it is carried out within \
                     {AGE_MAX_S} s or not at all"
                ),
                None => "the order is malformed: it has no creationTimestamp".to_owned(),
            });
        }
        let most = FAULT_LASTS_MAX.as_millis() as u64;
        if self.lasts_ms > most {
            return Err(format!("lastsMs {}: {most} at most", self.lasts_ms));
        }
        if self.lasts_ms == 0 && !matches!(self.deed, Deed::Restart | Deed::RollCall { .. }) {
            return Err("lastsMs is 0: how long it lasts is expected".to_owned());
        }
        if !at.for_tests && !self.insisted {
            return Err(production(NAMESPACE));
        }
        if let Some(why) = at.cannot.get(self.deed.name()) {
            return Err(why.clone());
        }
        if at.busy {
            return Err("another order is being carried out here".to_owned());
        }
        Ok(())
    }
}

/// Why nothing is done to the cluster that is called so.
pub(super) fn production(cluster: &str) -> String {
    format!(
        "{cluster} counts as production: its namespace {NAMESPACE} has no label {ENVIRONMENT}={TEST}. If it is \
         for tests: kubectl label namespace {NAMESPACE} {ENVIRONMENT}={TEST}. To go on regardless: --insist"
    )
}

/// How things stand where an order arrives.
pub(super) struct Situation<'a> {
    pub cluster: &'a str,
    /// Of the order; absent where it does not say.
    pub age_s: Option<i64>,
    pub for_tests: bool,
    /// By the deed's name, why not.
    pub cannot: &'a BTreeMap<String, String>,
    pub busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Of a roll call.
    Here,
    /// It will be done by this process, or never.
    Begun,
    Ended,
    Refused,
}

/// What a member says to an order, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub state: State,
    /// Of a refusal, or how it came to its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    pub name: String,
    /// The process: another one after each start.
    pub process: String,
    pub version: String,
    pub cluster: String,
    pub term: u64,
    pub leads: bool,
    /// Name of who leads, as far as it knows.
    #[serde(default)]
    pub leader: String,
    /// Names of all members, and of those that vote.
    pub members: Vec<String>,
    pub voters: Vec<String>,
    #[serde(default)]
    pub problems: Vec<String>,
    /// What it cannot do, by the deed's name, and why.
    #[serde(default)]
    pub cannot: BTreeMap<String, String>,
    /// Of its state at the revision at which the roll call was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<u32>,
}

/// The key under which a member answers.
pub(super) fn answer_key(member: u64) -> String {
    format!("member.{member:016x}")
}

/// The key under which a member says that it leads.
pub(super) fn led_key(term: u64, member: u64) -> String {
    format!("led.{term}.{member:016x}")
}

/// All answers that stand in an object.
pub(super) fn answers(object: &Object) -> Vec<Answer> {
    let data = object["data"].members().iter();
    let answers = data.filter(|(key, _)| key.starts_with("member."));
    answers.filter_map(|(_, text)| serde_json::from_str(text.as_str()?).ok()).collect()
}

/// Terms and who led in them, as they stand in an object.
pub(super) fn led(object: &Object) -> Vec<(u64, String)> {
    let of = |(key, name): &(Key, Value)| {
        let term = key.strip_prefix("led.")?.split('.').next()?.parse().ok()?;
        Some((term, name.as_str()?.to_owned()))
    };
    object["data"].members().iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use trireme_api::value;

    use super::*;

    fn order() -> Order {
        Order::new(Deed::CutOff, "master-1", "c", Duration::from_secs(10), false)
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        for deed in [Deed::Kill, Deed::ClockOff { by_ms: -5 }, Deed::RollCall { hash: true }] {
            let order = Order { deed, ..order() };
            let text = serde_json::to_string(&order).expect("JSON");
            assert_eq!(Order::of(&Object(value!({"data": {"order": text}}))), Ok(order));
        }
        let wrong = |data: &str| Order::of(&Object(value!({"data": {"order": data}}))).unwrap_err();
        assert!(wrong("{").contains("malformed: data.order"));
        assert!(wrong(r#"{"version":1,"deed":"explode"}"#).contains("unknown variant `explode`"));
        assert!(wrong(r#"{"version":1,"deed":"kill","when":"now"}"#).contains("unknown field `when`"));
        assert!(Order::of(&Object(value!({"data": {}}))).unwrap_err().contains("is missing"));
    }

    #[test]
    fn what_is_old_foreign_or_not_to_be_done_is_refused() {
        let nothing = BTreeMap::new();
        let good =
            || Situation { cluster: "c", age_s: Some(1), for_tests: true, cannot: &nothing, busy: false };
        assert_eq!(order().check(&good()), Ok(()));
        assert_eq!(order().check(&Situation { age_s: Some(-3), ..good() }), Ok(()), "clocks differ");
        let refused =
            |order: Order, at: Situation<'_>| order.check(&at).expect_err("it should have been refused");
        assert!(refused(order(), Situation { age_s: Some(61), ..good() }).contains("given 61 s ago"));
        assert!(refused(order(), Situation { age_s: Some(-90), ..good() }).contains("-90 s"));
        assert!(refused(order(), Situation { age_s: None, ..good() }).contains("creationTimestamp"));
        assert!(refused(order(), Situation { cluster: "other", ..good() }).contains("for cluster \"c\""));
        assert!(refused(order(), Situation { for_tests: false, ..good() }).contains("--insist"));
        assert!(refused(order(), Situation { busy: true, ..good() }).contains("another order"));
        let cannot = BTreeMap::from([("cut-off".to_owned(), "no peers".to_owned())]);
        assert_eq!(refused(order(), Situation { cannot: &cannot, ..good() }), "no peers");
        assert!(refused(Order { version: 2, ..order() }, good()).contains("version 2"));
        assert!(refused(Order { lasts_ms: 0, ..order() }, good()).contains("lastsMs is 0"));
        assert!(refused(Order { lasts_ms: 300_001, ..order() }, good()).contains("300000 at most"));
        let insisted = Order { insisted: true, ..order() };
        assert_eq!(insisted.check(&Situation { for_tests: false, ..good() }), Ok(()));
        let restart = Order { deed: Deed::Restart, lasts_ms: 0, ..order() };
        assert_eq!(restart.check(&good()), Ok(()));
    }

    #[test]
    fn who_led_stands_in_the_keys() {
        let mut data = Object(value!({"data": {}}));
        data.make(&["data"]).insert(led_key(7, 0xab), "master-1");
        data.make(&["data"]).insert(answer_key(0xab), "not JSON");
        assert_eq!(led(&data), vec![(7, "master-1".to_owned())]);
        assert!(answers(&data).is_empty());
    }
}
