//! One API server over a store in memory, with throwaway certificates: for trying requests.
//!
//! `cargo run -p trireme-apiserver --example serve -- <directory> [port]` writes `ca.crt`,
//! `admin.crt`, `admin.key` and `admin.kubeconfig` to the directory and serves on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

#[path = "../tests/support/mod.rs"]
mod support;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: serve <directory> [port]")?;
    let port: u16 = args.next().map_or(Ok(0), |p| p.parse())?;
    std::fs::create_dir_all(&dir)?;
    let pki = support::Pki::new()?;
    let kv = support::memory_store()?;
    let server = support::server(Arc::new(kv), &pki)?;
    let listener = tokio::net::TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await?;
    let address = listener.local_addr()?;
    pki.write(Path::new(&dir), address)?;
    println!("serving on https://{address}; KUBECONFIG={dir}/admin.kubeconfig");
    server.serve(listener).await?;
    Ok(())
}
