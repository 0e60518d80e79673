//! The body of an answer: whole, or made while it is sent.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};
use http_body::{Frame, SizeHint};

/// What the API server answers with.
pub enum Body {
    Full(Bytes),
    /// Made as the client takes it: lists and watches.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    pub fn empty() -> Body {
        Body::Full(Bytes::new())
    }

    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }

    /// The whole body. Never ends for a watch.
    pub async fn into_bytes(self) -> Bytes {
        match self {
            Body::Full(bytes) => bytes,
            Body::Stream(mut stream) => {
                let mut out = BytesMut::new();
                while let Some(chunk) = stream.next().await {
                    out.extend_from_slice(&chunk);
                }
                out.freeze()
            }
        }
    }

    /// The body's parts as they come.
    pub fn into_stream(self) -> Pin<Box<dyn Stream<Item = Bytes> + Send>> {
        match self {
            Body::Full(bytes) => Box::pin(futures::stream::iter([bytes])),
            Body::Stream(stream) => stream,
        }
    }

    /// The same content compressed; made piece by piece.
    pub fn gzip(self) -> Body {
        let encoder = GzEncoder::new(BytesMut::new().writer(), Compression::fast());
        let source = self.into_stream();
        Body::stream(futures::stream::unfold(Some((encoder, source)), |state| async move {
            let (mut encoder, mut source) = state?;
            loop {
                match source.next().await {
                    Some(chunk) => {
                        // Writing to memory does not fail.
                        let _ = encoder.write_all(&chunk);
                        let out = encoder.get_mut().get_mut().split().freeze();
                        if !out.is_empty() {
                            return Some((out, Some((encoder, source))));
                        }
                    }
                    None => {
                        let rest = encoder.finish().map(|w| w.into_inner().freeze()).unwrap_or_default();
                        return Some((rest, None));
                    }
                }
            }
        }))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|next| next.map(|b| Ok(Frame::data(b))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[tokio::test]
    async fn a_compressed_stream_unpacks_to_what_went_in() {
        let piece = Bytes::from(vec![b'x'; 70_000]);
        let body = Body::stream(futures::stream::iter(vec![
            piece.clone(),
            piece.clone(),
            Bytes::from_static(b"end"),
        ]));
        let packed = body.gzip().into_bytes().await;
        assert!(packed.len() < 10_000);
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut out).unwrap();
        assert_eq!(out.len(), 140_003);
    }
}
