//! Endpoints with https, and their certificates.

use std::path::{Path, PathBuf};

use axum::serve::Listener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::*;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/traces/exporter/certificates").join(name)
}

/// A listener whose connections use TLS. It goes on after a client that does not trust it.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn start(server: &Server) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(file("server.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let secure = Secure { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let router = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(secure, router).await });
    address
}

fn trusting(address: SocketAddr, authority: PathBuf) -> TraceSettings {
    let url = format!("https://{address}/v1/traces?api_key=s3cret").parse().unwrap();
    TraceSettings { url, certificate: Some(authority), ..settings(address) }
}

#[tokio::test]
async fn only_an_endpoint_with_a_certificate_of_the_authority_gets_spans() {
    let server = Server::default();
    let address = start(&server).await;
    let running = Running::to(trusting(address, file("ca.crt"))).await;
    running.queue.add(span(1));
    server.until_received(1).await;
    assert_eq!(running.ended().await, [1, 0, 0, 0]);

    let running = Running::to(trusting(address, file("other-ca.crt"))).await;
    running.queue.add(span(1));
    assert_eq!(running.ended().await, [0, 0, 0, 1]);
    assert_eq!(server.received.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn without_tls_no_certificate_is_read() {
    let server = Server::default();
    let address = server.start().await;
    let missing = TraceSettings { certificate: Some("/does/not/exist".into()), ..settings(address) };
    let running = Running::to(missing).await;
    running.queue.add(span(1));
    assert_eq!(running.ended().await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_said_without_any_value() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    for authority in [PathBuf::from("/s3cret/does/not/exist"), file("server.key"), file("README.md")] {
        let Err(error) = Endpoint::new(trusting(address, authority.clone())).await else {
            panic!("{}: it was used", authority.display())
        };
        let text = error.to_string();
        assert!(
            text.contains("https://127.0.0.1:1") && text.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"),
            "{text}"
        );
        assert!(!text.contains("s3cret") && !text.contains('\n'), "{text}");
    }
}
