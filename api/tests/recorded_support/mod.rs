//! One recorded scenario through the rules: what a server would do around them is played here.

mod compare;
mod server;

use serde_json::Value as Json;

/// What came of one recorded step.
pub(crate) enum Outcome {
    Agrees,
    Differs(String),
    /// Not an answer that rules alone decide.
    NeedsServer,
}

/// Replays the creates and updates of a scenario, in order.
pub(crate) fn replay_scenario(scenario: &Json) -> Vec<Outcome> {
    let mut server = server::Server::new(scenario);
    let steps = scenario["steps"].as_array().map_or(&[][..], Vec::as_slice);
    steps.iter().map(|step| server.step(step)).collect()
}
