//! HTTPS.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use ferri_tracker_server::{Error, Listen, Options, Scheme, TlsFiles, TrackerServer};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Client, announce};

fn write_certificate(folder: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["tracker.example".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

fn start(files: TlsFiles) -> TrackerServer {
    let listen =
        [Scheme::Http, Scheme::Https].map(|scheme| Listen { place: "127.0.0.1:0".to_owned(), scheme });
    let options = Options { listen: listen.to_vec(), tls: Some(files), workers: 2, ..Options::default() };
    TrackerServer::start(options).unwrap()
}

/// A connection that trusts this certificate only.
fn dial(
    tracker: &TrackerServer,
    root: &CertificateDer<'static>,
) -> Result<StreamOwned<ClientConnection, std::net::TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("tracker.example").unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = Client::new(tracker.places()[1].0).stream;
    tls.complete_io(&mut stream)?;
    Ok(StreamOwned::new(tls, stream))
}

fn ask(stream: &mut impl ReadWrite, target: &str) -> String {
    stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut text = String::new();
    while !text.ends_with('e') {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    text
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn a_certificate_or_key_that_is_no_plain_file_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write_certificate(folder.path());
    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    for files in [
        TlsFiles { certificate: fifo.clone(), ..files.clone() },
        TlsFiles { key: fifo.clone(), ..files.clone() },
    ] {
        let options = Options { tls: Some(files), ..Options::on("127.0.0.1:0") };
        let error = TrackerServer::start(options).unwrap_err();
        assert!(error.to_string().ends_with("/fifo: it is a FIFO or pipe, not a plain file"), "{error}");
    }
}

#[test]
fn announces_over_tls_are_answered_and_the_connection_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (files, root) = write_certificate(folder.path());
    let tracker = start(files);
    let mut stream = dial(&tracker, &root).unwrap();
    for peer in 1..4 {
        let text = ask(&mut stream, &announce(1, peer, 1));
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("8:interval"), "{text}");
    }
    assert_eq!(tracker.counts(), (1, 3));
    // Many at once: more than one record, and more than is answered in one go.
    let many = format!("GET {} HTTP/1.1\r\n\r\n", announce(1, 9, 1)).repeat(300);
    stream.write_all(many.as_bytes()).unwrap();
    let mut seen = 0;
    let mut text = String::new();
    while seen < 300 {
        let mut buffer = [0; 16384];
        let length = stream.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        seen = text.matches("HTTP/1.1 200 OK").count();
    }
    assert!(tracker.announce_urls()[2].starts_with("https://127.0.0.1:"));
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (files, old) = write_certificate(folder.path());
    let (told, hears) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let listener = ferri_tracker_server::Listener(Arc::new(move |notice| {
        told.lock().unwrap().send(notice.is_bad()).unwrap();
    }));
    let listen =
        [Scheme::Http, Scheme::Https].map(|scheme| Listen { place: "127.0.0.1:0".to_owned(), scheme });
    let options =
        Options { listen: listen.to_vec(), tls: Some(files.clone()), listener, ..Options::default() };
    let tracker = TrackerServer::start(options).unwrap();
    dial(&tracker, &old).unwrap();
    let (_, new) = write_certificate(folder.path());
    tracker.reload();
    assert!(!hears.recv_timeout(super::PATIENCE).unwrap());
    dial(&tracker, &new).unwrap();
    assert!(dial(&tracker, &old).is_err());
    fs::write(&files.key, "half").unwrap();
    tracker.reload();
    assert!(hears.recv_timeout(super::PATIENCE).unwrap());
    dial(&tracker, &new).unwrap();
}

#[test]
fn each_is_told_which_port_speaks_what() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write_certificate(folder.path());
    let tracker = start(files);
    let mut plain = Client::new(tracker.places()[1].0);
    let answer = plain.get("/announce");
    assert!(answer.status == 400 && answer.text().contains("https://"), "{}", answer.text());
    assert!(plain.is_at_end());
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = write_certificate(folder.path());
    files.key = folder.path().join("none");
    let error = TrackerServer::start(Options { tls: Some(files.clone()), ..Options::on("127.0.0.1:0") });
    assert!(error.unwrap_err().to_string().contains("none"));
    let other = tempfile::tempdir().unwrap();
    files.key = write_certificate(other.path()).0.key;
    let error = TrackerServer::start(Options { tls: Some(files), ..Options::on("127.0.0.1:0") }).unwrap_err();
    assert!(error.to_string().contains("cannot be used together"), "{error}");
    let listen = vec![Listen { place: "127.0.0.1:0".to_owned(), scheme: Scheme::Https }];
    let error = TrackerServer::start(Options { listen, ..Options::default() }).unwrap_err();
    assert!(matches!(error, Error::Tls(_)));
}
