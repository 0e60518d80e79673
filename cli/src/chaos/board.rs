//! Orders as the command gives them, and the masters' answers as it reads them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use trireme_api::{Object, value};
use trireme_chaos_report::Election;
use trireme_client::resource::CONFIG_MAPS;
use trireme_client::{Client, DeleteOptions, Kubeconfig, ListParams};

use super::order::{Answer, LABEL, NAMESPACE, ORDER, Order, State, answers, led};

/// How long masters may take to answer a roll call.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// A hash is of the whole state, which is read for it.
const HASHES_WITHIN: Duration = Duration::from_secs(120);
/// How long a master may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(20);
/// What a master may take to say that it came to the end, after that.
const END_WITHIN: Duration = Duration::from_secs(90);
/// How long an answer of an API server is waited for.
const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// How long the cluster may be away before a wait is given up: it is being broken meanwhile.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Orders that somebody left behind.
const OLD_S: i64 = 600;

pub(super) struct Board {
    config: Arc<Kubeconfig>,
    client: Mutex<Client>,
}

/// An order that was given.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    name: String,
    uid: String,
}

/// What masters answered to a roll call.
#[derive(Clone, Debug, Default)]
pub(super) struct Roll {
    pub masters: Vec<Answer>,
    /// Members that did not answer, by name.
    pub missing: Vec<String>,
    /// At which the hashes are.
    pub revision: String,
}

impl Roll {
    pub(super) fn leader(&self) -> Option<&Answer> {
        self.masters.iter().filter(|master| master.leads).max_by_key(|master| master.term)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Answer> {
        self.masters.iter().find(|master| master.name == name)
    }

    /// Why not every member is there, votes and follows one leader; in words, one each.
    pub(super) fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> =
            self.missing.iter().map(|name| format!("{name} does not answer")).collect();
        let leader = self.leader().map(|leader| leader.name.clone());
        if leader.is_none() {
            troubles.push("nobody leads".to_owned());
        }
        for master in &self.masters {
            if !master.voters.contains(&master.name) {
                troubles.push(format!("{} does not vote", master.name));
            }
            if leader.as_ref().is_some_and(|leader| *leader != master.leader) {
                troubles.push(format!("{} follows {:?}", master.name, master.leader));
            }
            troubles.extend(master.problems.iter().map(|problem| format!("{}: {problem}", master.name)));
        }
        troubles
    }
}

/// What one call may take.
pub(super) async fn within<T>(
    call: impl Future<Output = Result<T, trireme_client::Error>>,
) -> Result<T, trireme_client::Error> {
    let answer = tokio::time::timeout(CALL, call).await;
    answer.unwrap_or_else(|_| {
        Err(trireme_client::Error::OutcomeUnknown(format!("no answer in {} s", CALL.as_secs())))
    })
}

/// A client on a connection of its own.
pub(super) fn connect(config: &Kubeconfig) -> Result<Client> {
    Ok(Client::new(config.transport(concat!("trireme-chaos/", env!("CARGO_PKG_VERSION")))?))
}

impl Board {
    pub(super) fn new(config: Arc<Kubeconfig>) -> Result<Board> {
        let client = Mutex::new(connect(&config)?);
        Ok(Board { config, client })
    }

    pub(super) fn client(&self) -> Client {
        self.client.lock().clone()
    }

    pub(super) fn server(&self) -> &str {
        &self.config.server
    }

    pub(super) fn config(&self) -> &Arc<Kubeconfig> {
        &self.config
    }

    /// As who runs a command anew: on another connection, which may lead to another master.
    fn connect_again(&self) {
        if let Ok(client) = connect(&self.config) {
            *self.client.lock() = client;
        }
    }

    /// Gives an order. Repeated for as long as it is certain that it was not given.
    pub(super) async fn place(&self, order: &Order) -> Result<(Placed, Object)> {
        let text = serde_json::to_string(order)?;
        let object = Object(value!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"generateName": "trireme-chaos-", "namespace": NAMESPACE, "labels": {LABEL: ORDER}},
            "data": {ORDER: text},
        }));
        let began = Instant::now();
        loop {
            match within(self.client().create(&CONFIG_MAPS, NAMESPACE, &object)).await {
                Ok(made) => {
                    let placed = Placed { name: made.name().to_owned(), uid: made.uid().to_owned() };
                    return Ok((placed, made));
                }
                Err(error) if matches!(error.status(), 401 | 403 | 422) || began.elapsed() > AWAY_MAX => {
                    return Err(error).context("give an order to the masters");
                }
                // An order that was given after all names nobody's run: it ends by itself.
                Err(_) => self.connect_again(),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The order as it stands; `None` if it is gone.
    async fn read(&self, placed: &Placed) -> Result<Option<Object>> {
        let began = Instant::now();
        loop {
            match within(self.client().get(&CONFIG_MAPS, NAMESPACE, &placed.name)).await {
                Ok(object) => return Ok(Some(object).filter(|object| object.uid() == placed.uid)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if began.elapsed() > AWAY_MAX => return Err(error).context("read the answers"),
                Err(_) => self.connect_again(),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Removes an order, which ends what is being done for it: where the store takes no writes, it still
    /// takes this.
    pub(super) async fn remove(&self, placed: &Placed) {
        let began = Instant::now();
        let options = DeleteOptions::uid(&placed.uid);
        while let Err(error) =
            within(self.client().delete(&CONFIG_MAPS, NAMESPACE, &placed.name, &options)).await
        {
            if error.is_not_found() || error.is_conflict() || began.elapsed() > AWAY_MAX {
                return;
            }
            self.connect_again();
            tokio::time::sleep(POLL).await;
        }
    }

    /// Removes orders that killed commands left behind.
    pub(super) async fn tidy(&self) -> Result<()> {
        let orders = ListParams::labels(&format!("{LABEL}={ORDER}"));
        let list = within(self.client().list(&CONFIG_MAPS, Some(NAMESPACE), &orders)).await?;
        let now = jiff::Timestamp::now().as_second();
        for object in list.items {
            let made = object.metadata()["creationTimestamp"].as_str().unwrap_or_default();
            let made = made.parse::<jiff::Timestamp>().map_or(0, |made| made.as_second());
            if now - made > OLD_S {
                self.remove(&Placed { name: object.name().into(), uid: object.uid().into() }).await;
            }
        }
        Ok(())
    }

    /// Asks every master how it stands.
    pub(super) async fn roll_call(&self, hash: bool) -> Result<Roll> {
        let (placed, made) = self.place(&Order::roll_call(hash)).await?;
        let within = if hash { HASHES_WITHIN } else { ANSWERS_WITHIN };
        let roll = self.roll(&placed, made.resource_version(), within).await;
        self.remove(&placed).await;
        roll
    }

    async fn roll(&self, placed: &Placed, revision: &str, within: Duration) -> Result<Roll> {
        let began = Instant::now();
        loop {
            let Some(object) = self.read(placed).await? else { bail!("somebody removed the roll call") };
            let masters = answers(&object);
            let mut missing: Vec<String> =
                masters.iter().flat_map(|master| master.members.iter().cloned()).collect();
            missing.sort();
            missing.dedup();
            missing.retain(|name| !masters.iter().any(|master| master.name == *name));
            if (!masters.is_empty() && missing.is_empty()) || began.elapsed() > within {
                return Ok(Roll { masters, missing, revision: revision.to_owned() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the member that is meant has begun; why it will not, if it refuses.
    pub(super) async fn begun(&self, placed: &Placed, member: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.answer_of(placed, member).await? {
                Some(Answer { state: State::Refused, why, .. }) => bail!("{member} refuses: {why}"),
                Some(Answer { state: State::Begun | State::Ended, .. }) => return Ok(()),
                _ if began.elapsed() > BEGIN_WITHIN => {
                    bail!("{member} has not begun within {} s: nothing was done", BEGIN_WITHIN.as_secs())
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Waits until it has ended, which it may at once or after `lasts`; how, in its words.
    pub(super) async fn ended(&self, placed: &Placed, member: &str, lasts: Duration) -> Result<String> {
        let deadline = Instant::now() + lasts + END_WITHIN;
        loop {
            match self.answer_of(placed, member).await? {
                Some(Answer { state: State::Ended, why, .. }) => return Ok(why),
                Some(Answer { state: State::Refused, why, .. }) => bail!("{member}: {why}"),
                _ if Instant::now() > deadline => {
                    bail!("{member} does not say that it came to the end of it")
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn answer_of(&self, placed: &Placed, member: &str) -> Result<Option<Answer>> {
        let Some(object) = self.read(placed).await? else { bail!("somebody removed the order") };
        Ok(answers(&object).into_iter().find(|answer| answer.name == member))
    }
}

/// Who leads, as leaders themselves write it while the run goes on.
#[derive(Default)]
pub(super) struct Leaders(Mutex<BTreeMap<u64, Vec<(Duration, String)>>>);

impl Leaders {
    /// Looks at `placed` again and again, for ever. `began` is when the run did.
    pub(super) async fn follow(self: Arc<Self>, board: Arc<Board>, placed: Placed, began: Instant) {
        let Ok(mut client) = connect(board.config()) else { return };
        loop {
            match within(client.get(&CONFIG_MAPS, NAMESPACE, &placed.name)).await {
                Ok(object) => self.note(led(&object), began.elapsed()),
                Err(_) => {
                    if let Ok(another) = connect(board.config()) {
                        client = another;
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn note(&self, led: Vec<(u64, String)>, at: Duration) {
        let mut terms = self.0.lock();
        for (term, name) in led {
            let leaders = terms.entry(term).or_default();
            if !leaders.iter().any(|(_, known)| *known == name) {
                leaders.push((at, name));
            }
        }
    }

    pub(super) fn elections(&self) -> Vec<Election> {
        let terms = self.0.lock();
        let all = terms.iter().flat_map(|(term, leaders)| leaders.iter().map(move |led| (*term, led)));
        all.map(|(term, (at, leader))| Election { at: *at, term, leader: leader.clone() }).collect()
    }

    /// Terms in which several said that they led.
    pub(super) fn violations(&self) -> Vec<String> {
        let terms = self.0.lock();
        let several = terms.iter().filter(|(_, leaders)| leaders.len() > 1);
        let names = |leaders: &[(Duration, String)]| {
            leaders.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" and ")
        };
        several.map(|(term, leaders)| format!("term {term} was led by {}", names(leaders))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(name: &str, leads: bool, follows: &str) -> Answer {
        let members = vec!["a".to_owned(), "b".to_owned()];
        Answer {
            state: State::Here,
            why: String::new(),
            name: name.into(),
            process: "1".into(),
            version: "1".into(),
            cluster: "c".into(),
            term: 3,
            leads,
            leader: follows.into(),
            voters: members.clone(),
            members,
            problems: Vec::new(),
            cannot: BTreeMap::new(),
            hash: None,
        }
    }

    #[test]
    fn what_is_not_well_is_named() {
        let well = Roll { masters: vec![master("a", true, "a"), master("b", false, "a")], ..Roll::default() };
        assert_eq!(well.troubles(), Vec::<String>::new());
        let check = |roll: Roll, expected: &[&str]| assert_eq!(roll.troubles(), expected);
        check(
            Roll { masters: vec![master("a", true, "a")], missing: vec!["b".into()], ..Roll::default() },
            &["b does not answer"],
        );
        check(Roll { masters: vec![master("a", false, "")], ..Roll::default() }, &["nobody leads"]);
        let mut learner = well.clone();
        learner.masters[1].voters.pop();
        learner.masters[1].problems.push("the disk is full".into());
        check(learner, &["b does not vote", "b: the disk is full"]);
        let mut split = well;
        split.masters[1].leader = "b".into();
        check(split, &["b follows \"b\""]);
    }

    #[test]
    fn two_leaders_of_a_term_are_told() {
        let leaders = Leaders::default();
        leaders.note(vec![(3, "a".into())], Duration::from_secs(1));
        leaders.note(vec![(3, "a".into()), (4, "b".into())], Duration::from_secs(2));
        assert_eq!(leaders.violations(), Vec::<String>::new());
        let terms: Vec<(u64, u64)> = leaders.elections().iter().map(|e| (e.term, e.at.as_secs())).collect();
        assert_eq!(terms, [(3, 1), (4, 2)]);
        leaders.note(vec![(4, "c".into())], Duration::from_secs(3));
        assert_eq!(leaders.violations(), ["term 4 was led by b and c"]);
    }
}
