//! Connections to members: TCP, TLS with our certificate, HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tonic::transport::{Channel, Endpoint};
use trireme_store::Error;

use crate::tls::Connector;

const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A member from which nothing comes back for this long is given up; power that fails closes no
/// socket.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
const KEEPALIVE_MAX: Duration = Duration::from_secs(1);

/// A channel to `host:port` that connects when it is used, and again when it broke.
pub(super) fn channel(address: &str, tls: Arc<ArcSwap<ClientConfig>>) -> Result<Channel, Error> {
    let bad = |why: &str| {
        Error::Invalid(format!("{address:?} is not an endpoint of the store: {why}; expected host:port"))
    };
    let (host, _) = address.rsplit_once(':').ok_or_else(|| bad("no port"))?;
    ServerName::try_from(host.trim_matches(['[', ']'])).map_err(|e| bad(&e.to_string()))?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| bad(&e.to_string()))?
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_MAX)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(2 << 20);
    Ok(endpoint.connect_with_connector_lazy(Connector(tls)))
}
