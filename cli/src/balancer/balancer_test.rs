use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

/// A backend that answers every connection with its name and then echoes; ends when aborted.
async fn backend(name: u8) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move {
                let _ = socket.write_all(&[name]).await;
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (address, task)
}

async fn start(backends: &[String]) -> (SocketAddr, CancellationToken) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let stop = CancellationToken::new();
    let options = Options {
        listen: free,
        backends: backends.to_vec(),
        ca: None,
        check_path: "/readyz".into(),
        check_interval_ms: 20,
    };
    tokio::spawn(run(options, stop.clone()));
    for _ in 0..500 {
        if TcpStream::connect(free).await.is_ok() {
            return (free, stop);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the balancer did not come up");
}

async fn name_of(address: SocketAddr) -> (u8, TcpStream) {
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).await.unwrap();
    (byte[0], client)
}

#[tokio::test]
async fn connections_spread_over_backends() {
    let (a, _a) = backend(b'a').await;
    let (b, _b) = backend(b'b').await;
    let (address, stop) = start(&[a, b]).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(name_of(address).await);
    }
    let of_a = held.iter().filter(|(name, _)| *name == b'a').count();
    assert!((3..=5).contains(&of_a), "{of_a} of 8 at one backend");
    stop.cancel();
}

#[tokio::test]
async fn a_dead_backend_is_passed_over_and_its_connections_are_cut() {
    let (a, a_task) = backend(b'a').await;
    let (b, _b) = backend(b'b').await;
    let (address, stop) = start(&[a, b]).await;
    let mut held = loop {
        let (name, held) = name_of(address).await;
        if name == b'a' {
            break held;
        }
    };
    a_task.abort();
    for _ in 0..20 {
        assert_eq!(name_of(address).await.0, b'b');
    }
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), held.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection to the dead backend is still open");
    stop.cancel();
}

#[tokio::test]
async fn a_client_waits_for_a_backend_that_comes_back() {
    let (a, a_task) = backend(b'a').await;
    let (address, stop) = start(std::slice::from_ref(&a)).await;
    assert_eq!(name_of(address).await.0, b'a');
    a_task.abort();
    let _ = a_task.await;
    let waiting = tokio::spawn(async move { name_of(address).await.0 });
    let listener = TcpListener::bind(&a).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"c").await;
            tokio::spawn(async move {
                let mut rest = Vec::new();
                let _ = socket.read_to_end(&mut rest).await;
            });
        }
    });
    assert_eq!(waiting.await.unwrap(), b'c');
    stop.cancel();
}
