//! The body of an answer, unpacked, within a limit.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;

use super::link::Link;
use super::{Fault, HttpError};

/// At most `limit` bytes after decompression.
pub(super) async fn read(
    link: &mut Link,
    mut body: Incoming,
    headers: &HeaderMap,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    let mut sink = Sink::new(headers, limit);
    while let Some(frame) = link.frame(&mut body).await {
        if let Ok(data) = frame?.into_data() {
            sink.take(&data)?;
        }
    }
    sink.finish()
}

enum Sink {
    Plain(Capped),
    /// Whether the packed data has ended; what follows it is left.
    Gzip {
        decoder: Box<GzDecoder<Capped>>,
        ended: bool,
    },
}

impl Sink {
    fn new(headers: &HeaderMap, limit: usize) -> Self {
        let capped = Capped { bytes: Vec::new(), limit, overran: false };
        let encoding =
            headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("").trim();
        if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
            Self::Gzip { decoder: Box::new(GzDecoder::new(capped)), ended: false }
        } else {
            Self::Plain(capped)
        }
    }

    fn take(&mut self, mut data: &[u8]) -> Result<(), HttpError> {
        match self {
            Self::Plain(capped) => capped.write_all(data).map_err(|_| capped.fault()),
            Self::Gzip { decoder, ended } => {
                while !data.is_empty() && !*ended {
                    match decoder.write(data) {
                        Ok(0) => *ended = true,
                        Ok(taken) => data = &data[taken..],
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => return Err(decoder.get_ref().fault()),
                    }
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, HttpError> {
        match self {
            Self::Plain(capped) => Ok(capped.bytes),
            // A body without a byte is empty, packed or not.
            Self::Gzip { decoder, .. }
                if decoder.header().is_none() && decoder.get_ref().bytes.is_empty() =>
            {
                Ok(Vec::new())
            }
            Self::Gzip { mut decoder, .. } => {
                decoder.try_finish().map_err(|_| decoder.get_ref().fault())?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

/// Bytes up to a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    overran: bool,
}

impl Capped {
    fn fault(&self) -> HttpError {
        if self.overran {
            HttpError::new(Fault::TooLong, format!("the answer is longer than {} KiB", self.limit >> 10))
        } else {
            HttpError::new(Fault::Useless, "it cannot be unpacked: damaged gzip data")
        }
    }
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.limit - self.bytes.len() < data.len() {
            self.overran = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
