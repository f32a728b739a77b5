//! One request to the gateway, on a connection of its own: many routers hang up after each answer.
//!
//! Names are not looked up and redirects not followed, so that only the gateway is asked. The session's HTTP client,
//! which does both for servers of the world, has no use here.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use url::{Position, Url};

use super::description::ip_of;
use crate::egress::Egress;

/// A router answers one request within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a document. Descriptions have some thousand.
const DOCUMENT_MAX: usize = 128 << 10;
/// Bytes of the head of an answer.
const HEAD_MAX: usize = 16 << 10;

/// Sends the request to the literal address in `url`, from our address `local`: the status and the whole document.
///
/// # Errors
/// Why there is none, in words.
pub(super) async fn exchange(
    egress: &Egress,
    local: Ipv4Addr,
    url: &Url,
    request: Builder,
    body: String,
) -> Result<(u16, Vec<u8>), String> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let request = request
        .uri(if target.is_empty() { "/" } else { target })
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| format!("not a usable address: {error}"))?;
    let (Some(ip), Some(port)) = (ip_of(url), url.port_or_known_default()) else {
        return Err(format!("not a usable address: {url}"));
    };
    let answering = timeout(ANSWER_TIMEOUT, ask(egress, local, (ip, port).into(), request));
    answering.await.unwrap_or_else(|_| Err("it gives no answer in time".to_owned()))
}

async fn ask(
    egress: &Egress,
    local: Ipv4Addr,
    to: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Vec<u8>), String> {
    let stream = egress.connect_from(local, to).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        // Some routers know headers only by how they are usually written.
        .title_case_headers(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cause(&error))?;
    let answering = async {
        let response = sender.send_request(request).await.map_err(|error| cause(&error))?;
        let status = response.status().as_u16();
        let (mut body, mut document) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| cause(&error))?;
            let Some(part) = frame.data_ref() else { continue };
            if DOCUMENT_MAX < document.len() + part.len() {
                return Err(format!("an answer is longer than {} KiB", DOCUMENT_MAX >> 10));
            }
            document.extend_from_slice(part);
        }
        Ok((status, document))
    };
    let (mut answering, mut connection) = (pin!(answering), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answering => answer,
        // What it was about is said by the request; a connection that is over may still have the answer.
        _ = &mut connection => answering.await,
    }
}

/// The innermost cause, which alone says something.
fn cause(error: &hyper::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
