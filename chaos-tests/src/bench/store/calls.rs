//! Writes, reads and transactions per second.

use std::time::Duration;

use anyhow::Result;
use tonic::Status;

use super::Figure;
use super::client::Client;
use super::load::{Caller, fill, measure};
use super::messages::RangeRequest;
use super::side::Side;

const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
/// Keys that are read.
const READ_KEYS: usize = 10_000;

struct Put {
    client: Client,
    id: usize,
    value: Vec<u8>,
}

impl Caller for Put {
    async fn call(&mut self, n: u64) -> Result<(), Status> {
        let key = format!("/bench/{:06}/{n:<width$}", self.id, width = KEY_BYTES - 14);
        self.client.put(key.into_bytes(), self.value.clone()).await.map(|_| ())
    }
}

/// Keys of 256 bytes, values of 1 KiB, each synced on a quorum.
pub(super) async fn writes(side: &Side, clients: usize, time: Duration) -> Result<Vec<Figure>> {
    measure(side, "writes", clients, time, |id, client| Put { client, id, value: vec![b'v'; VALUE_BYTES] })
        .await
}

/// A compare of what this client wrote last, and a put: what an API server's update is.
struct CompareAndPut {
    client: Client,
    key: Vec<u8>,
    revision: i64,
}

impl Caller for CompareAndPut {
    async fn call(&mut self, _: u64) -> Result<(), Status> {
        let value = vec![b'v'; VALUE_BYTES];
        self.revision = self.client.put_if(self.key.clone(), value, self.revision).await?;
        Ok(())
    }
}

pub(super) async fn transactions(side: &Side, clients: usize, time: Duration) -> Result<Vec<Figure>> {
    let caller = |id, client| CompareAndPut {
        client,
        key: format!("/txn/{clients}/{id:06}").into_bytes(),
        revision: 0,
    };
    measure(side, "transactions", clients, time, caller).await
}

struct Get {
    client: Client,
    at: u64,
    serializable: bool,
}

impl Caller for Get {
    async fn call(&mut self, _: u64) -> Result<(), Status> {
        // A walk in large odd steps, so that no cache of neighbours answers.
        self.at = (self.at + 7919) % READ_KEYS as u64;
        let request = RangeRequest {
            key: read_key(self.at as usize),
            serializable: self.serializable,
            ..RangeRequest::default()
        };
        let found = self.client.range(request).await?;
        if found.kvs.len() == 1 {
            Ok(())
        } else {
            Err(Status::not_found("a key that was written is not there"))
        }
    }
}

fn read_key(n: usize) -> Vec<u8> {
    format!("/read/{n:06}").into_bytes()
}

/// Gets of one key of 1 KiB among ten thousand, linearizable and serializable.
pub(super) async fn reads(side: &Side, clients: &[usize], time: Duration) -> Result<Vec<Figure>> {
    fill(side, READ_KEYS, |n| (read_key(n), vec![b'v'; VALUE_BYTES])).await?;
    let mut figures = Vec::new();
    for (what, serializable) in [("linearizable reads", false), ("serializable reads", true)] {
        for &clients in clients {
            let caller = |id: usize, client| Get { client, at: id as u64 * 97, serializable };
            figures.extend(measure(side, what, clients, time, caller).await?);
        }
    }
    Ok(figures)
}
