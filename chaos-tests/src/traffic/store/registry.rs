//! What an API server does to an object: create where there is none, update and delete only what it
//! knows.

use super::PREFIX;
use super::acts::Client;
use crate::history::{Keys, Op, Range};

/// Namespaces that objects are spread over.
const NAMESPACES: u64 = 3;

impl Client {
    pub(super) fn object(&mut self) -> String {
        let n = self.number();
        format!("{PREFIX}r/pods/ns{}/p{n:03}", n % NAMESPACES)
    }

    pub(super) async fn create(&mut self) -> bool {
        let key = self.object();
        let put = Op::Put { key: key.clone(), value: self.value(), lease: 0, prev_kv: false };
        self.guarded(&key, 0, put).await
    }

    pub(super) async fn update(&mut self) -> bool {
        let key = self.object();
        let Some(known) = self.revision_of(&key).await else { return false };
        let put = Op::Put { key: key.clone(), value: self.value(), lease: 0, prev_kv: false };
        self.guarded(&key, known, put).await
    }

    pub(super) async fn remove(&mut self) -> bool {
        let key = self.object();
        match self.revision_of(&key).await {
            None => false,
            Some(0) => true,
            Some(known) => {
                let delete = Op::Delete { keys: Keys::one(&key), prev_kv: true };
                self.guarded(&key, known, delete).await
            }
        }
    }

    /// As it is known, as from a cache, or read; zero: not there.
    async fn revision_of(&mut self, key: &str) -> Option<i64> {
        if let Some(known) = self.known.get(key) {
            return Some(*known);
        }
        let answer = self.session.range(Range { keys: Keys::one(key), ..Range::default() }).await?;
        Some(answer.kvs.first().map_or(0, |kv| kv.mod_revision))
    }
}
