//! The course of a run: calm, what was planned, healing, calm again, and the verdicts. Whatever comes,
//! what was done is taken back, and what was made for it is removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use trireme_chaos_report::{Deed as Done, Note, Promise, Report, Step, What};

use super::board::{Board, Leaders, Placed, Roll};
use super::drill::{self, Drill};
use super::load::{History, Load};
use super::order::Order;
use super::scenario::{Plan, Scenario};
use super::show::Show;
use super::{gate, judge};

/// Before and after: what the other figures are compared with.
const CALM: Duration = Duration::from_secs(5);
/// From the end of a fault until all masters are well and writes are acknowledged.
const HEAL_WITHIN: Duration = Duration::from_secs(60);
/// Writes that must be acknowledged for a cluster to be well.
const PROGRESS_WRITES: usize = 5;
const POLL: Duration = Duration::from_millis(500);
/// What a master that starts again may take for that, when it is waited for without an order.
const RESTART_MAX: Duration = Duration::from_secs(30);
/// Looks at the end until everybody is there with one state.
const LAST_LOOKS: usize = 5;

pub(super) struct Course {
    pub board: Arc<Board>,
    pub plan: Plan,
    pub drill: Option<Drill>,
    /// Id of the store's cluster.
    pub cluster: String,
    pub insisted: bool,
    pub repeat: String,
    pub stop: CancellationToken,
    pub began: Instant,
    pub show: Show,
    steps: Vec<Step>,
    /// What broke the promise to heal.
    unhealed: Vec<String>,
    compared: Option<drill::Compared>,
}

impl Course {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        board: Arc<Board>,
        plan: Plan,
        drill: Option<Drill>,
        cluster: String,
        insisted: bool,
        repeat: String,
        stop: CancellationToken,
    ) -> Course {
        let began = Instant::now();
        let show = Show::new(began);
        let (steps, unhealed) = (Vec::new(), Vec::new());
        Course {
            board,
            plan,
            drill,
            cluster,
            insisted,
            repeat,
            stop,
            began,
            show,
            steps,
            unhealed,
            compared: None,
        }
    }

    /// Plays it all. An error is one of the run itself; broken promises are in the report.
    pub(super) async fn run(mut self) -> Result<Report> {
        let board = self.board.clone();
        board.tidy().await.context("remove what earlier runs left")?;
        let namespace = gate::enter(&board).await?;
        let leaders = Arc::new(Leaders::default());
        let played = self.watched(namespace, &leaders).await;
        let left = gate::leave(&board).await;
        self.show.end();
        let (history, last) = played?;
        left?;
        Ok(self.report(&history, &last, &leaders))
    }

    /// With a roll call that stays, in which leaders say that they lead.
    async fn watched(&mut self, namespace: &str, leaders: &Arc<Leaders>) -> Result<(History, Roll)> {
        let (watched, _) = self.board.place(&Order::roll_call(false)).await?;
        let following = leaders.clone().follow(self.board.clone(), watched.clone(), self.began);
        let following = tokio::spawn(following);
        let played = self.under_load(namespace).await;
        self.show.part("removing what was made for it");
        following.abort();
        self.board.remove(&watched).await;
        played
    }

    async fn under_load(&mut self, namespace: &str) -> Result<(History, Roll)> {
        let load = Load::start(self.board.config().clone(), namespace, self.began).await?;
        self.show.wait("calm, under load", CALM, &self.stop).await;
        let played = self.play(&load).await;
        if played.is_ok() {
            self.show.wait("calm, under load", CALM, &self.stop).await;
        }
        self.show.part("the last look: every object, and the hash of every member's state");
        let history = load.finish().await;
        played?;
        Ok((history?, self.last_look().await?))
    }

    async fn play(&mut self, load: &Load) -> Result<()> {
        if self.drill.is_some() && !self.stop.is_cancelled() {
            return self.drill(load).await;
        }
        for mut member in self.plan.members.clone() {
            if self.stop.is_cancelled() || !self.unhealed.is_empty() {
                break;
            }
            if self.plan.to_leader
                && let Some(leader) = self.board.roll_call(false).await?.leader()
            {
                member = leader.name.clone();
            }
            self.step(&member, load).await?;
        }
        Ok(())
    }

    /// Has it done to one member, and waits until all is well again.
    async fn step(&mut self, member: &str, load: &Load) -> Result<()> {
        let (plan, lasts) = (&self.plan, self.plan.lasts);
        let deed = plan.scenario.deed(plan.by, plan.back).context("nothing is done to members here")?;
        let order = Order::new(deed, member, &self.cluster, lasts, self.insisted);
        let words = format!("{}: {member}", plan.scenario.name());
        self.show.part(&words);
        let began = self.began.elapsed();
        let (placed, _) = self.board.place(&order).await?;
        let ended = self.attend(&placed, member, &words).await;
        let over = self.began.elapsed();
        self.board.remove(&placed).await;
        let how = ended?;
        self.show.part(&format!("{words}: {how}; waiting until all is well"));
        let step = Step {
            what: vec![Done {
                name: plan.scenario.name(),
                words: plan.what(),
                whom: format!("{member} ({how})"),
                took_hold: true,
            }],
            began,
            ended: over,
            healed: None,
        };
        self.steps.push(step);
        match self.heal(load).await {
            Ok(()) => {
                let now = self.began.elapsed();
                if let Some(step) = self.steps.last_mut() {
                    step.healed = Some(now);
                }
            }
            Err(why) => self.unhealed.push(format!("after {words}: {why:#}")),
        }
        Ok(())
    }

    /// Until it has ended, by itself or taken back.
    async fn attend(&self, placed: &Placed, member: &str, words: &str) -> Result<String> {
        self.board.begun(placed, member).await?;
        let lasts = self.plan.lasts;
        let counting = self.show.count_down(words, lasts);
        let mut ended = std::pin::pin!(self.board.ended(placed, member, lasts));
        let both = async {
            tokio::select! {
                ended = &mut ended => return Some(ended),
                () = counting => {}
            }
            Some((&mut ended).await)
        };
        if let Some(Some(ended)) = self.stop.run_until_cancelled(both).await {
            return ended;
        }
        self.show.part(&format!("{words}: taking it back; what does not hear of it ends by its own timer"));
        self.board.remove(placed).await;
        let until = Instant::now() + lasts + RESTART_MAX;
        let is_over = |roll: Roll| {
            let member = roll.find(member);
            member.is_some_and(|member| !member.problems.iter().any(|problem| problem.starts_with("chaos: ")))
        };
        while Instant::now() < until && !self.board.roll_call(false).await.is_ok_and(is_over) {
            tokio::time::sleep(POLL).await;
        }
        Ok("it was taken back".to_owned())
    }

    async fn heal(&self, load: &Load) -> Result<()> {
        let (from, deadline) = (self.began.elapsed(), Instant::now() + HEAL_WITHIN);
        loop {
            let troubles = match self.board.roll_call(false).await {
                Ok(roll) => roll.troubles(),
                Err(error) => vec![format!("{error:#}")],
            };
            if troubles.is_empty() && load.acknowledged_since(from) >= PROGRESS_WRITES {
                return Ok(());
            }
            if Instant::now() > deadline {
                let writes = load.acknowledged_since(from);
                bail!("{}; {writes} writes were acknowledged", troubles.join("; "));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn drill(&mut self, load: &Load) -> Result<()> {
        let Some(drill) = self.drill.take() else { return Ok(()) };
        let began = self.began.elapsed();
        let played = drill.play(&self.board, &self.show, &self.stop).await;
        let ended = self.began.elapsed();
        let compared = match played? {
            Some(compared) => compared,
            // Ctrl-C.
            None => return Ok(()),
        };
        let what = Done {
            name: self.plan.scenario.name(),
            words: self.plan.what(),
            whom: "nobody".into(),
            took_hold: true,
        };
        self.steps.push(Step { what: vec![what], began, ended, healed: None });
        self.compared = Some(compared);
        if let Err(why) = self.heal(load).await {
            self.unhealed.push(format!("after the drill: {why:#}"));
        } else if let Some(step) = self.steps.last_mut() {
            step.healed = Some(ended);
        }
        Ok(())
    }

    /// How all members stand at the end, with the hashes of their states at one revision.
    async fn last_look(&self) -> Result<Roll> {
        let mut last = Roll::default();
        for _ in 0..LAST_LOOKS {
            last = self.board.roll_call(true).await?;
            if last.troubles().is_empty() {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(last)
    }

    fn promises(&self, history: &History, last: &Roll, leaders: &Leaders) -> Vec<Promise> {
        let promise = Promise::new;
        let mut promises = vec![
            promise("no acknowledged write is lost", judge::nothing_is_lost(history)),
            promise("no read is stale", judge::no_read_is_stale(history)),
            promise(
                "the watch brings every acknowledged write once, in order",
                judge::the_watch_misses_nothing(history),
            ),
        ];
        let now = self.began.elapsed();
        if let (Some(first), Some(end)) = (self.steps.first(), self.steps.last()) {
            let within = self.plan.within;
            let (from, after) = match self.plan.scenario.stops_writes() {
                true => (end.ended, "it is over"),
                false => (first.began, "it begins, and stay"),
            };
            let resume = format!("writes resume within {} s after {after}", within.as_secs());
            let until = history.writes.iter().map(|write| write.ended).max().unwrap_or(now);
            promises.push(promise(&resume, judge::writes_resume(history, from, until, within)));
            if self.plan.scenario.spares_writes() {
                promises.push(promise("no write fails", judge::no_write_fails(history, first.began)));
            }
        }
        promises.push(promise("one leader per term", leaders.violations()));
        let heal = format!("everything heals without a hand, each time within {} s", HEAL_WITHIN.as_secs());
        promises.push(promise(&heal, self.unhealed.clone()));
        promises.push(promise("at the end every member votes and follows one leader", last.troubles()));
        let same = format!("at revision {} all members have the same state", last.revision);
        promises.push(promise(&same, differing(last)));
        if let Some(compared) = &self.compared {
            promises.push(promise(&compared.promise(), compared.differences.clone()));
        }
        promises
    }

    fn report(self, history: &History, last: &Roll, leaders: &Leaders) -> Report {
        let plan = Note { title: "The plan".into(), rows: self.plan.rows(), without_rows: String::new() };
        let member = |roll: &super::order::Answer| {
            let hash = roll.hash.map_or_else(|| "no hash".to_owned(), |hash| format!("hash {hash:08x}"));
            (
                roll.name.clone(),
                format!("version {}, term {}, follows {}, {hash}", roll.version, roll.term, roll.leader),
            )
        };
        let members = Note {
            title: "Members at the end".into(),
            rows: last.masters.iter().map(member).collect(),
            without_rows: "nobody answered".into(),
        };
        let refused = Note {
            title: "What writes that were not acknowledged were told, the first ones".into(),
            rows: history.refusals.iter().map(|told| (String::new(), told.clone())).collect(),
            without_rows: String::new(),
        };
        let mut report = Report {
            title: format!("{} on {}", self.plan.scenario.name(), self.plan.cluster),
            fine_print: format!(
                "trireme {} \u{b7} {}",
                env!("CARGO_PKG_VERSION"),
                jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC")
            ),
            repeat: self.repeat.clone(),
            lasted: self.began.elapsed(),
            samples: history.samples.clone(),
            steps: self.steps.clone(),
            elections: leaders.elections(),
            promises: self.promises(history, last, leaders),
            notes: [
                Some(plan),
                self.compared.as_ref().map(drill::Compared::note),
                Some(members),
                Some(refused),
            ]
            .into_iter()
            .flatten()
            .collect(),
            ..Report::default()
        };
        // The last calls: what comes after is no gap.
        report.lasted = report.samples.iter().map(|sample| sample.ended).max().unwrap_or(report.lasted);
        let (from, to) = match (report.steps.first(), report.steps.last()) {
            (Some(first), Some(last)) => (first.began, last.over()),
            _ => (Duration::ZERO, report.lasted),
        };
        report.lead.push(format!(
            "{} masters, {:.0} s. The longest time without an acknowledged write while it lasted: {:.1} s.",
            last.masters.len(),
            report.lasted.as_secs_f64(),
            report.longest_gap(What::ApiWrite, from, to).as_secs_f64()
        ));
        let acknowledged = history.writes.len()
            - history.writes.iter().filter(|write| write.outcome == super::load::Outcome::Not).count();
        report.lead.push(format!(
            "{acknowledged} of {} writes were acknowledged, {} reads answered, {} events watched.",
            history.writes.len(),
            history.reads.len(),
            history.seen.len()
        ));
        if self.plan.scenario == Scenario::DiskFull || self.plan.scenario == Scenario::ClockJump {
            report.lead.push(
                "Simulated in the member's process: no disk and no machine's clock was touched.".into(),
            );
        }
        if self.stop.is_cancelled() {
            report.lead.push("The run was interrupted; everything was taken back.".into());
        }
        report
    }
}

/// Members whose state is not that of the others, or not known.
fn differing(last: &Roll) -> Vec<String> {
    let mut hashes: Vec<u32> = last.masters.iter().filter_map(|master| master.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() == 1 && last.missing.is_empty() && last.masters.iter().all(|master| master.hash.is_some())
    {
        return Vec::new();
    }
    let of = |master: &super::order::Answer| match master.hash {
        Some(hash) => format!("{} has {hash:08x}", master.name),
        None => format!("{} does not tell its hash", master.name),
    };
    let missing = last.missing.iter().map(|name| format!("{name} does not tell its hash"));
    last.masters.iter().map(of).chain(missing).collect()
}
