//! The least of an HTTP client that the remote controls of other people's programs need (HTTP/1.1, one request a
//! connection). Also SCGI, which rtorrent speaks. No TLS, no redirects, no proxies.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

/// A remote control on the same machine answers within this, or something is wrong with it. qBittorrent's has taken more
/// than ten seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    /// The three-digit number.
    pub(crate) status: u16,
    /// The head, as it came.
    pub(crate) head: String,
    /// The body, de-chunked.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// GET.
///
/// # Errors
/// When no server listens or the answer is not HTTP.
pub(crate) fn get(to: SocketAddr, path: &str) -> Result<Response> {
    request(to, "GET", path, &[], b"")
}

/// GET from an address of this machine, with headers, each `Name: value`.
///
/// # Errors
/// When the address is not ours, no server listens or the answer is not HTTP.
pub(crate) fn get_from(from: IpAddr, to: SocketAddr, path: &str, headers: &[&str]) -> Result<Response> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into()).with_context(|| format!("{from} is not ours"))?;
    socket.connect_timeout(&to.into(), LIMIT).with_context(|| format!("connecting to {to}"))?;
    parse(&exchange_over(socket.into(), &request_text(to, "GET", path, headers, b""))?)
}

/// POST with headers, each `Name: value`.
///
/// # Errors
/// When no server listens or the answer is not HTTP.
pub(crate) fn post(to: SocketAddr, path: &str, headers: &[&str], body: &[u8]) -> Result<Response> {
    request(to, "POST", path, headers, body)
}

/// One SCGI request with an XML-RPC body; returns the XML.
///
/// # Errors
/// When no server listens or the answer has no body.
pub(crate) fn scgi(to: SocketAddr, body: &str) -> Result<String> {
    let head = format!("CONTENT_LENGTH\0{}\0SCGI\x001\0", body.len());
    let answer = exchange(to, format!("{}:{head},{body}", head.len()).as_bytes())?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (_, xml) = text.split_once("\r\n\r\n").context("an SCGI answer without a body")?;
    Ok(xml.to_owned())
}

fn request(to: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Result<Response> {
    parse(&exchange(to, &request_text(to, method, path, headers, body))?)
}

fn request_text(to: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn exchange(to: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&to, LIMIT).with_context(|| format!("connecting to {to}"))?;
    exchange_over(stream, bytes).with_context(|| format!("asking {to}"))
}

fn exchange_over(mut stream: TcpStream, bytes: &[u8]) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16384];
    // Some servers keep the connection in spite of `Connection: close`, so the announced length counts too.
    loop {
        let count = stream.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..count]);
        if count == 0 || is_whole(&answer) {
            return Ok(answer);
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head_len) = head_len(answer) else { return false };
    let head = String::from_utf8_lossy(&answer[..head_len]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.is_some_and(|length: usize| answer.len() >= head_len + length)
}

fn head_len(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn parse(answer: &[u8]) -> Result<Response> {
    let head_len = head_len(answer).context("an answer without an end of its head")?;
    let head = String::from_utf8_lossy(&answer[..head_len]).into_owned();
    let status =
        head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status in the answer")?;
    let mut response = Response { status, head, body: answer[head_len..].to_vec() };
    if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        response.body = dechunk(&response.body)?;
    }
    Ok(response)
}

fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("a chunk without its size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        ensure!(end + 2 + size + 2 <= rest.len(), "a chunk is cut off");
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chunked_answer_is_put_together() {
        let response =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"abcde".as_slice()));
    }

    #[test]
    fn an_answer_is_whole_when_its_announced_length_is_there() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"));
    }
}
