//! One connection to a server: requests one after the other, and a count of what comes back.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dial::Place;
use super::{Fault, HttpError};

/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Framing of a body in many parts may be this part of it. A server that sends smaller parts is cut off.
const FRAMING: usize = 4;

/// What a connection is made of.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection between two requests, or during one.
pub(super) struct Link {
    /// The server's address.
    pub(super) ip: IpAddr,
    sender: SendRequest<Empty<Bytes>>,
    driver: Driver,
    /// Bytes that may still come for the request under way.
    allowance: Arc<AtomicUsize>,
}

/// What moves bytes while a caller waits for them. No task of its own: a connection that waits does nothing.
struct Driver(Option<Pin<Box<Moved>>>);

type Moved = Connection<TokioIo<Metered>, Empty<Bytes>>;

impl Driver {
    /// Does `work` while the connection moves.
    async fn along<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.turn(context);
            work.as_mut().poll(context)
        })
        .await
    }

    fn turn(&mut self, context: &mut Context<'_>) {
        // Dropped when it is over, so that no caller waits for it.
        if self.0.as_mut().is_some_and(|connection| connection.as_mut().poll(context).is_ready()) {
            self.0 = None;
        }
    }
}

impl Link {
    pub(super) async fn new(stream: Box<dyn Stream>, ip: IpAddr) -> Result<Self, HttpError> {
        let allowance = Arc::new(AtomicUsize::new(0));
        let stream = TokioIo::new(Metered { stream, allowance: allowance.clone() });
        let handshake = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(stream);
        let (sender, connection) =
            handshake.await.map_err(|error| HttpError::new(Fault::Unseen, error.to_string()))?;
        Ok(Self { ip, sender, driver: Driver(Some(Box::pin(connection))), allowance })
    }

    /// Sends a request and waits for the head of the answer, of which at most `limit` bytes of body are to come.
    pub(super) async fn ask(
        &mut self,
        request: Request<Empty<Bytes>>,
        limit: usize,
        place: &Place,
    ) -> Result<Response<Incoming>, HttpError> {
        self.allowance.store(limit + limit / FRAMING + HEAD_BYTES_MAX, Ordering::Relaxed);
        let Self { sender, driver, .. } = self;
        let asking = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answered = driver.along(asking).await;
        answered.map_err(|error| {
            let is_parse = error.is_parse() && !error.is_parse_too_large();
            match self.describe(&error) {
                HttpError { fault: Fault::Useless, .. } if is_parse && !place.tls => HttpError::new(
                    Fault::Useless,
                    "it does not answer in HTTP; perhaps the address should begin with https://",
                ),
                HttpError { fault: Fault::Useless, .. } if is_parse => {
                    HttpError::new(Fault::Useless, "it does not answer in HTTP")
                }
                other => other,
            }
        })
    }

    /// The next part of a body.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, HttpError>> {
        let frame = self.driver.along(body.frame()).await?;
        // What ended in the middle of an answer is not asked again: the server did answer.
        let describe = |error: hyper::Error| match self.describe(&error) {
            HttpError { fault: Fault::HungUp, .. } => {
                HttpError::new(Fault::Useless, "it hung up in the middle of its answer")
            }
            other => other,
        };
        Some(frame.map_err(describe))
    }

    /// Whether another request may follow.
    pub(super) fn is_ready(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.driver.turn(&mut context);
        self.driver.0.is_some() && matches!(self.sender.poll_ready(&mut context), Poll::Ready(Ok(())))
    }

    fn describe(&self, error: &hyper::Error) -> HttpError {
        let new = |fault, text: &str| HttpError::new(fault, text);
        if self.allowance.load(Ordering::Relaxed) == 0 {
            new(Fault::TooLong, "it goes on sending and does not come to an end")
        } else if error.is_parse_too_large() {
            new(
                Fault::TooLong,
                &format!("the head of its answer is longer than {} KiB", HEAD_BYTES_MAX >> 10),
            )
        } else if error.is_parse() {
            new(Fault::Useless, &format!("it does not answer in HTTP: {}", innermost(error)))
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            new(Fault::HungUp, "it hung up without an answer")
        } else {
            new(Fault::HungUp, &innermost(error))
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("ip", &self.ip).finish_non_exhaustive()
    }
}

/// The innermost cause: the outer ones repeat what was asked, which may hold a passkey.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A stream of which only so many bytes are read.
struct Metered {
    stream: Box<dyn Stream>,
    allowance: Arc<AtomicUsize>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let allowed = self.allowance.load(Ordering::Relaxed);
        if allowed == 0 {
            return Poll::Ready(Err(io::Error::other("more came than was asked for")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        self.allowance.store(allowed.saturating_sub(came), Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
