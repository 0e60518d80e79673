//! The connections between members: their bytes are counted, and none passes while the member is cut
//! off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::server::Connected;

use super::histogram::Counter;
use crate::peer::{Standstill, Until};
use crate::tls::Connector;

/// What went over connections, without TLS' own part.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

/// A stream whose bytes are counted.
pub(crate) struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
    /// Of either direction: two tasks may wait.
    reads: Standstill,
    writes: Standstill,
}

impl<S> Counted<S> {
    /// `cut` is the member's own.
    pub(crate) fn new(stream: S, traffic: Arc<Traffic>, cut: Arc<Until>) -> Self {
        Self { stream, traffic, reads: Standstill::new(cut.clone()), writes: Standstill::new(cut) }
    }
}

impl<S> Connected for Counted<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.reads.poll_over(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.traffic.received.add((buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.writes.poll_over(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.traffic.sent.add(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.writes.poll_over(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes))?;
        self.traffic.sent.add(written as u64);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may still hold bytes.
        ready!(self.writes.poll_over(cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Opens connections whose bytes are counted.
#[derive(Clone)]
pub(crate) struct CountedConnector {
    pub(crate) connector: Connector,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) cut: Arc<Until>,
}

type Connection = TokioIo<Counted<TlsStream<TcpStream>>>;

impl Service<http::Uri> for CountedConnector {
    type Response = Connection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let connecting = self.connector.call(uri);
        let (traffic, cut) = (self.traffic.clone(), self.cut.clone());
        Box::pin(async move {
            cut.over().await;
            Ok(TokioIo::new(Counted::new(connecting.await?.into_inner(), traffic, cut)))
        })
    }
}
