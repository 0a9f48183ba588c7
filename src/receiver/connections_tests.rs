use std::path::{Path, PathBuf};

use http::Request;
use kube::client::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::kubernetes::lease::Leadership;
use crate::receiver::{RequestCounter, channel, peers};
use crate::telemetry::metrics::Metrics;

/// The certificates of other tests; their README says what they are.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/traces/exporter/certificates").join(name)
}

fn pair() -> TlsPair {
    TlsPair { certificate: file("server.crt"), key: file("server.key") }
}

fn desk() -> Desk {
    let service = tower::service_fn(|_: Request<Body>| async {
        Err::<http::Response<Body>, tower::BoxError>("there is no API server".into())
    });
    let (sender, _) = channel();
    let counter = RequestCounter::show(&Metrics::new().unwrap()).unwrap();
    let client = kube::Client::new(service, "default");
    Desk::new(client, Leadership::without_election(), counter, sender)
}

/// A receiver that runs until it is told to stop.
fn start(tls: Option<TlsPair>) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let desk = Arc::new(desk());
    let listening = Listening::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).unwrap();
    let (address, stop) = (listening.address(), CancellationToken::new());
    let server = tokio::spawn(listening.serve(desk, stop.clone()));
    (address, stop, server)
}

/// The first line of the answer to a request.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

/// A connection that trusts this authority.
async fn secure(address: SocketAddr, authority: &str) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let mut authorities = RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_file(file(authority)).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(authorities).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn requests_are_answered_until_it_stops_and_an_idle_connection_does_not_keep_it() {
    let (address, stop, server) = start(None);
    for _ in 0..3 {
        assert_eq!(ask(TcpStream::connect(address).await.unwrap()).await, "HTTP/1.1 404 Not Found");
    }
    let _idle = TcpStream::connect(address).await.unwrap();
    let mut used = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut used).await, "HTTP/1.1 404 Not Found");
    assert_eq!(used.read(&mut [0; 9]).await.unwrap(), 0, "who is refused holds no connection");
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let (address, stop, server) = start(None);
    let mut held = Vec::new();
    for _ in 0..peers::MOST {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let mut beyond = TcpStream::connect(address).await.unwrap();
    assert_eq!(beyond.read(&mut [0; 9]).await.unwrap(), 0, "it is closed at once");
    assert_eq!(ask(held.pop().unwrap()).await, "HTTP/1.1 404 Not Found");
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_does_not_keep_the_connection() {
    let (desk, stop) = (Arc::new(desk()), CancellationToken::new());
    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let since = Instant::now();
    timeout(2 * LASTS, converse(server, desk, stop)).await.unwrap();
    assert_eq!(since.elapsed().as_secs(), LASTS.as_secs());
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_spoken_and_a_failed_handshake_harms_nobody() {
    let (address, stop, server) = start(Some(pair()));
    assert!(secure(address, "other-ca.crt").await.is_err(), "it is trusted by the wrong authority");
    let plain = ask(TcpStream::connect(address).await.unwrap()).await;
    assert!(!plain.starts_with("HTTP"), "{plain}");
    assert_eq!(ask(secure(address, "ca.crt").await.unwrap()).await, "HTTP/1.1 404 Not Found");
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_its_certificate_it_stays_closed_until_the_files_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
    let (address, stop, server) = start(Some(TlsPair { certificate: certificate.clone(), key: key.clone() }));
    tokio::time::advance(3 * TRY_AGAIN).await;
    assert!(TcpStream::connect(address).await.is_err(), "tokens must not be sent without TLS");
    std::fs::copy(file("server.crt"), certificate).unwrap();
    std::fs::copy(file("server.key"), key).unwrap();
    while TcpStream::connect(address).await.is_err() {
        tokio::time::advance(TRY_AGAIN).await;
    }
    tokio::time::resume();
    assert_eq!(ask(secure(address, "ca.crt").await.unwrap()).await, "HTTP/1.1 404 Not Found");
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_never_comes_does_not_keep_it_from_stopping() {
    let missing = PathBuf::from("/does/not/exist");
    let (_, stop, server) = start(Some(TlsPair { certificate: missing.clone(), key: missing }));
    stop.cancel();
    server.await.unwrap();
}

#[test]
fn files_that_are_no_certificate_and_key_are_named() {
    let missing = PathBuf::from("/does/not/exist");
    let table = [
        (TlsPair { certificate: missing.clone(), ..pair() }, "the certificate"),
        (TlsPair { key: missing, ..pair() }, "the key"),
        (TlsPair { key: file("ca.crt"), ..pair() }, "the key"),
        (TlsPair { certificate: file("other-ca.crt"), ..pair() }, ""),
    ];
    for (pair, expected) in table {
        let Err(error) = Certificates::read(pair.clone()) else { panic!("{pair:?} was used") };
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("--alerts-tls-cert"), "{text}");
    }
}
