//! A smaller way to a failure: fewer kinds of faults, and fewer of them.

use super::plan::KINDS;
use super::{Options, Verdict, in_a_process};

/// Worlds run for it.
const RUNS_MAX: usize = 40;

/// Options under which the world of `seed` still fails, by what is left out of them.
pub(super) fn shrink(seed: u64, options: &Options) -> Options {
    let quiet = Options { verbose: false, ..options.clone() };
    let first = match in_a_process(seed, &quiet) {
        // One that fails by differing from itself, or no more, is as small as it gets.
        Ok(verdict) if verdict.violations.is_empty() => return options.clone(),
        Ok(verdict) => Some(verdict),
        Err(_) => None,
    };
    let broken = |verdict: &Verdict| verdict.violations.first().map(|(promise, _)| promise.clone());
    let wanted = first.as_ref().and_then(broken);
    let mut runs = 0;
    // In the same way: what breaks another promise is another failure.
    let mut fails = |options: &Options| -> Option<Option<Verdict>> {
        runs += 1;
        if runs > RUNS_MAX {
            return None;
        }
        match in_a_process(seed, options) {
            Ok(verdict) => {
                (broken(&verdict).is_some() && broken(&verdict) == wanted).then_some(Some(verdict))
            }
            Err(_) => wanted.is_none().then_some(None),
        }
    };
    let mut least = quiet;
    let mut steps = first.as_ref().map(|verdict| verdict.steps);
    let met = |kind: &str| first.as_ref().is_none_or(|verdict| verdict.faults.contains_key(kind));
    for kind in KINDS.iter().filter(|kind| met(kind)) {
        let mut fewer = least.clone();
        fewer.without.push((*kind).to_owned());
        if let Some(verdict) = fails(&fewer) {
            least = fewer;
            steps = verdict.map(|verdict| verdict.steps).or(steps);
        }
    }
    // The faults before a moment, by halves; then those after one.
    if let Some(mut high) = steps {
        let mut low = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            match fails(&Options { to_step: Some(middle), ..least.clone() }) {
                Some(_) => high = middle,
                None => low = middle + 1,
            }
        }
        let until = Options { to_step: Some(high), ..least.clone() };
        if fails(&until).is_some() {
            least = until;
            let (mut low, mut high) = (1, high);
            while low < high {
                let middle = high - (high - low) / 2;
                match fails(&Options { from_step: Some(middle), ..least.clone() }) {
                    Some(_) => low = middle,
                    None => high = middle - 1,
                }
            }
            if low > 1 {
                least.from_step = Some(low);
            }
        }
    }
    Options { verbose: options.verbose, ..least }
}
