//! The suite against a store of its own, on every engine.

use std::sync::Arc;

use crate::engine::{Engine, Model};
use crate::local::Local;
use crate::machine::Store;

async fn conforms(engine: Arc<dyn Engine>) {
    let store = Store::open(engine).expect("open");
    let clock = Arc::new(|| 1_700_000_000_000);
    let local = Local::new(store.clone(), clock).expect("serve");
    crate::suite::run(Arc::new(local)).await;
    store.verify().expect("verify");
}

#[tokio::test]
async fn on_the_model() {
    conforms(Arc::new(Model::new())).await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn on_rocksdb() {
    use crate::engine::{RocksEngine, RocksOptions};
    let dir = tempfile::tempdir().expect("a directory");
    conforms(Arc::new(RocksEngine::open(dir.path(), RocksOptions::default()).expect("open"))).await;
}
