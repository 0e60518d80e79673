//! Time as controllers and agents see it, given from outside so that tests and simulation can set it.

use std::sync::Arc;

use jiff::Timestamp;

/// The wall clock. Only for what is written into objects or read out of them: waiting and
/// leadership go by tokio's monotonic clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn system() -> Clock {
        Clock(Arc::new(Timestamp::now))
    }
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// `metav1.Time`: seconds.
pub fn rfc3339(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: always six decimals.
pub fn rfc3339_micro(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A time out of an object; none where it is absent or not a time.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_upstream_does() {
        let t: Timestamp = "2024-02-29T23:59:58.000120Z".parse().unwrap();
        assert_eq!(rfc3339(t), "2024-02-29T23:59:58Z");
        assert_eq!(rfc3339_micro(t), "2024-02-29T23:59:58.000120Z");
        assert_eq!(parse_time("2024-02-29T23:59:58Z").map(rfc3339).as_deref(), Some("2024-02-29T23:59:58Z"));
        assert_eq!(parse_time(""), None);
    }
}
