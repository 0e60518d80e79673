//! Sizes: how far sets may grow and shrink now. Pure arithmetic on what was observed.

use trireme_api::Object;

use super::sets::{
    DESIRED_REPLICAS, MAX_REPLICAS, Set, annotated, by_age, count, is_active, limits, replicas, sum,
};

/// A set and the size it gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resize {
    pub(super) set: Set,
    pub(super) to: i64,
}

/// The new set's size when all sets together may hold replicas plus surge.
pub(super) fn new_set_size(deployment: &Object, all: &[Set], now: i64) -> i64 {
    let wanted = replicas(deployment);
    if deployment.spec()["strategy"]["type"] == "Recreate" {
        return wanted;
    }
    let room = wanted + limits(deployment).0 - sum(all, replicas);
    if room <= 0 { now } else { now + room.min(wanted - now) }
}

/// What the new set gets, if that differs.
pub(super) fn grow(deployment: &Object, new: &Set, old: &[Set]) -> Option<Resize> {
    let (now, wanted) = (replicas(new), replicas(deployment));
    let to = if now >= wanted {
        wanted
    } else {
        let all: Vec<Set> = old.iter().chain([new]).cloned().collect();
        new_set_size(deployment, &all, now)
    };
    (to != now).then(|| Resize { set: new.clone(), to })
}

/// What old sets give up: first pods that are not available anyway, then as many available ones
/// as are above the minimum.
pub(super) fn shrink(deployment: &Object, new: &Set, old: &[Set]) -> Vec<Resize> {
    let old = by_age(old.iter().filter(|s| is_active(s)).cloned().collect());
    let total = sum(&old, replicas) + replicas(new);
    let available = |s: &Object| count(s, "availableReplicas");
    let minimum = replicas(deployment) - limits(deployment).1;
    let new_unavailable = replicas(new) - available(new);
    let most = total - minimum - new_unavailable;
    if old.is_empty() || most <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i64> = old.iter().map(|s| replicas(s)).collect();
    let mut given = 0;
    for (set, size) in old.iter().zip(&mut sizes) {
        let unhealthy = (*size - available(set)).max(0).min(most - given);
        *size -= unhealthy;
        given += unhealthy;
    }
    let mut spare = (sum(&old, available) + available(new) - minimum).max(0);
    for size in &mut sizes {
        let take = spare.min(*size);
        *size -= take;
        spare -= take;
    }
    let resized = old.into_iter().zip(sizes).filter(|(set, size)| replicas(set) != *size);
    resized.map(|(set, to)| Resize { set, to }).collect()
}

/// Whether the Deployment's size was changed since its sets were sized.
pub(super) fn is_scaling(deployment: &Object, sets: &[Set]) -> bool {
    let wanted = replicas(deployment);
    sets.iter().filter(|s| is_active(s)).any(|s| annotated(s, DESIRED_REPLICAS).is_some_and(|d| d != wanted))
}

/// Brings the sets to a new size of the Deployment without moving a rollout on: in proportion,
/// the rounding's rest to the largest.
pub(super) fn scale(deployment: &Object, new: Option<&Set>, old: &[Set]) -> Vec<Resize> {
    let wanted = replicas(deployment);
    let mut active: Vec<Set> = old.iter().chain(new).filter(|s| is_active(s)).cloned().collect();
    let single = match active.len() {
        0 => new.or_else(|| old.last()).cloned(),
        1 => active.first().cloned(),
        _ => None,
    };
    if let Some(set) = single {
        return if replicas(&set) == wanted { Vec::new() } else { vec![Resize { set, to: wanted }] };
    }
    if new.is_some_and(|n| is_saturated(deployment, n)) {
        let old = by_age(old.iter().filter(|s| is_active(s)).cloned().collect());
        return old.into_iter().map(|set| Resize { set, to: 0 }).collect();
    }
    if deployment.spec()["strategy"]["type"] == "Recreate" || active.is_empty() {
        return Vec::new();
    }
    let allowed = if wanted > 0 { wanted + limits(deployment).0 } else { 0 };
    let to_add = allowed - sum(&active, replicas);
    active = by_age(active);
    // Of equal size: the newer grows, the older shrinks.
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|s| std::cmp::Reverse(replicas(s)));
    let mut added = 0;
    let mut sizes: Vec<i64> = Vec::with_capacity(active.len());
    for set in &active {
        let share = match to_add {
            0 => 0,
            _ => share(deployment, set, to_add - added),
        };
        added += share;
        sizes.push(replicas(set) + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    active.into_iter().zip(sizes).map(|(set, to)| Resize { set, to }).collect()
}

/// A set's part of what is added (or, if negative, taken), at most `left`.
fn share(deployment: &Object, set: &Object, left: i64) -> i64 {
    let size = replicas(set);
    let fraction = if replicas(deployment) == 0 {
        -size
    } else {
        let most = replicas(deployment) + limits(deployment).0;
        let before = annotated(set, MAX_REPLICAS).unwrap_or_else(|| count(deployment, "replicas"));
        if before <= 0 {
            0
        } else {
            // size × most ÷ before, rounded half up.
            (2 * size * most + before) / (2 * before) - size
        }
    };
    if left > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// The new set alone is the whole Deployment, and available.
pub(super) fn is_saturated(deployment: &Object, new: &Object) -> bool {
    let wanted = replicas(deployment);
    replicas(new) == wanted
        && annotated(new, DESIRED_REPLICAS) == Some(wanted)
        && count(new, "availableReplicas") == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trireme_api::value;

    /// `name size available desired max`, oldest first.
    fn sets(lines: &[&str]) -> Vec<Set> {
        let set = |(age, line): (usize, &&str)| {
            let w: Vec<&str> = line.split_whitespace().collect();
            Arc::new(Object(value!({
                "metadata": {
                    "name": w[0],
                    "uid": w[0],
                    "creationTimestamp": format!("2024-01-01T00:00:{age:02}Z"),
                    "annotations": {DESIRED_REPLICAS: w.get(3).unwrap_or(&"10"), MAX_REPLICAS: w.get(4).unwrap_or(&"13")},
                },
                "spec": {"replicas": w[1].parse::<i64>().unwrap()},
                "status": {"availableReplicas": w[2].parse::<i64>().unwrap()},
            })))
        };
        lines.iter().enumerate().map(set).collect()
    }
    fn deployment(replicas: i64, surge: i64, unavailable: i64) -> Object {
        Object(value!({"spec": {
            "replicas": replicas,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        }}))
    }
    fn show(resizes: impl IntoIterator<Item = Resize>) -> String {
        let mut out: Vec<_> = resizes.into_iter().map(|r| format!("{}={}", r.set.name(), r.to)).collect();
        out.sort();
        out.join(" ")
    }

    #[test]
    fn the_new_set_grows_into_the_room_there_is() {
        let check = |d: (i64, i64), old: &str, new: &str, want: &str| {
            let all = sets(&[old, new]);
            assert_eq!(show(grow(&deployment(d.0, d.1, 0), &all[1], &all[..1])), want, "{old} | {new}");
        };
        check((10, 3), "old 10 10", "new 0 0", "new=3");
        check((10, 0), "old 10 10", "new 0 0", "");
        check((10, 3), "old 0 0", "new 5 5", "new=10");
        check((10, 3), "old 0 0", "new 12 12", "new=10");
        check((10, 3), "old 0 0", "new 10 10", "");
    }

    #[test]
    fn old_sets_shrink_to_the_minimum_and_lose_the_unavailable_first() {
        let check = |d: (i64, i64, i64), all: &[&str], want: &str| {
            let all = sets(all);
            let (new, old) = all.split_last().unwrap();
            assert_eq!(show(shrink(&deployment(d.0, d.1, d.2), new, old)), want, "{all:?}");
        };
        check((10, 3, 2), &["old 10 10", "new 0 0"], "old=8");
        check((10, 0, 0), &["old 10 10", "new 0 0"], "old=9");
        check((10, 1, 0), &["old 10 10", "new 0 0"], "");
        check((10, 2, 2), &["a 5 5", "b 5 0", "new 2 2"], "b=1");
        check((10, 3, 2), &["old 8 8", "new 5 0"], "");
        check((10, 3, 2), &["old 8 8", "new 5 3"], "old=5");
        check((10, 3, 2), &["old 2 2", "new 10 10"], "old=0");
    }

    #[test]
    fn scaling_within_a_rollout_keeps_the_proportions() {
        let check = |d: (i64, i64), all: &[&str], want: &str| {
            let all = sets(all);
            let (new, old) = all.split_last().unwrap();
            assert_eq!(show(scale(&deployment(d.0, d.1, 0), Some(new), old)), want, "{all:?}");
        };
        check((12, 0), &["new 10 10"], "new=12");
        check((10, 0), &["old 0 0", "new 10 10"], "");
        check((20, 0), &["old 5 5 10 10", "new 5 5 10 10"], "new=10 old=10");
        check((15, 0), &["old 8 8 10 10", "new 2 2 10 10"], "new=3 old=12");
        check((5, 0), &["old 5 5 10 10", "new 5 5 10 10"], "new=3 old=2");
        check((0, 3), &["old 8 8", "new 5 5"], "new=0 old=0");
        check((10, 0), &["old 3 3 10 10", "new 10 10 10 10"], "old=0");
    }

    #[test]
    fn a_changed_size_shows_on_the_sets() {
        let d = deployment(12, 3, 0);
        assert!(is_scaling(&d, &sets(&["a 10 10 10 13"])));
        assert!(!is_scaling(&d, &sets(&["a 10 10 12 15", "b 0 0 10 13"])));
    }
}
