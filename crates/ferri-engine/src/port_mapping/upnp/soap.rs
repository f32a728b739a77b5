//! What is said to a service, and what it answers (UPnP Device Architecture 1.1, section 3). No I/O.

use std::fmt;
use std::fmt::Write as _;

use super::description::Kind;
use super::elements::{self, Event};

/// Fields of an answer that are kept; the longest of ours has two.
const FIELDS_MAX: usize = 32;

/// The value of the `SOAPAction` header.
pub(super) fn header(kind: Kind, action: &str) -> String {
    format!("\"{kind}#{action}\"")
}

/// The request that asks for `action`. Names and values are ours, and need no escaping.
pub(super) fn request(kind: Kind, action: &str, arguments: &[(&str, &str)]) -> String {
    let mut body = format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{kind}\">"
    );
    for (name, value) in arguments {
        debug_assert!(!value.contains(['<', '>', '&']), "it needs escaping: {value}");
        write!(body, "<{name}>{value}</{name}>").expect("a string takes everything");
    }
    write!(body, "</u:{action}></s:Body></s:Envelope>\r\n").expect("a string takes everything");
    body
}

/// An answer that is no refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    fields: Vec<(String, String)>,
}

impl Answer {
    /// What it says about `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, text)| text.trim())
    }
}

/// A service refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The number of the error, where it says one.
    pub(super) code: Option<u16>,
    text: String,
}

impl Fault {
    /// One without a number, in words.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { code: None, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) if self.text.is_empty() => write!(f, "error {code}"),
            Some(code) => write!(f, "error {code}, {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Reads an answer that came with this HTTP status. An error that is named counts, whatever the status; without one the
/// status does, since some routers answer with pages that are no XML.
pub(super) fn read(status: u16, document: &[u8]) -> Result<Answer, Fault> {
    let mut answer = Answer::default();
    // Whatever can be read before it goes wrong is the answer.
    let _ = elements::walk(document, |event| {
        if let Event::End(name, text) = event
            && answer.fields.len() < FIELDS_MAX
        {
            answer.fields.push((name.to_owned(), text.to_owned()));
        }
    });
    let code = answer.get("errorCode").and_then(|code| code.parse().ok());
    let text = || answer.get("errorDescription").unwrap_or_default().chars().take(80).collect();
    match code {
        Some(code) => Err(Fault { code: Some(code), text: text() }),
        None if (200..300).contains(&status) && answer.get("Fault").is_none() => Ok(answer),
        None => Err(Fault::new(format!("HTTP {status} without an error that it names"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str) -> String {
        format!(
            "<s:Envelope xmlns:s=\"a\"><s:Body><s:Fault><faultstring>UPnPError</faultstring><detail><UPnPError>{code}\
             <errorDescription>ConflictInMappingEntry</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
        )
    }

    #[test]
    fn a_request_names_its_service_and_its_arguments() {
        let kind = Kind::Ip(1);
        assert_eq!(header(kind, "X"), "\"urn:schemas-upnp-org:service:WANIPConnection:1#X\"");
        let body = request(kind, "X", &[("A", "1"), ("B", "")]);
        let expected =
            "<u:X xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\"><A>1</A><B></B></u:X>";
        assert!(body.contains(expected), "{body}");
        assert_eq!(
            read(200, body.as_bytes()).ok().and_then(|read| read.get("A").map(str::to_owned)),
            Some("1".into())
        );
    }

    #[test]
    fn an_error_counts_whatever_the_status() {
        for status in [200, 500, 402] {
            let refused = read(status, fault("<errorCode> 718 </errorCode>").as_bytes())
                .map_err(|fault| fault.to_string());
            assert_eq!(refused, Err("error 718, ConflictInMappingEntry".to_owned()));
        }
    }

    #[test]
    fn without_an_error_the_status_counts() {
        assert!(read(200, b"").is_ok() && read(200, b"OK").is_ok());
        let text =
            |status, document: &str| read(status, document.as_bytes()).map_err(|fault| fault.to_string());
        assert_eq!(text(404, "<html><br>"), Err("HTTP 404 without an error that it names".to_owned()));
        assert!(text(200, &fault("")).is_err());
    }
}
