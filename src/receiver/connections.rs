//! The listener: a bounded number of connections, of which one address has only a few, each with bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificates::{Certificates, TlsPair};
use super::desk::Desk;
use super::peers::{Peers, Seat};

/// Connections that are open. Whoever comes then waits in the queue of the kernel.
const MOST: usize = 64;
/// How long a connection may take for its handshake, and for the head of each request. An idle one ends after this time.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// How long a connection takes new requests.
const TAKES_FOR: Duration = Duration::from_secs(30);
/// How long a connection lasts at most: the request in hand then is answered within that time, or not at all.
const LASTS: Duration = Duration::from_secs(60);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;
/// Connections that wait in the queue of the kernel.
const QUEUE: u32 = 1024;
/// How often the certificate is tried again that could not be read at the start.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted: too many files are open, for example.
const AFTER_TROUBLE: Duration = Duration::from_millis(100);

/// A bound address.
pub struct Listening {
    address: SocketAddr,
    door: Door,
}

/// Whether connections are taken.
enum Door {
    Open(Open),
    /// The certificate cannot be read, for this reason. Tokens must not be sent without TLS, so connections are refused.
    Closed(TcpSocket, TlsPair, String),
}

struct Open {
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
}

impl Listening {
    /// Binds the address, and logs it. If its certificate cannot be read, it stays closed until that can be read.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(address: SocketAddr, tls: Option<TlsPair>) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // So that it can be bound again right after a restart.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        let door = match tls {
            None => Door::Open(Open::listen(socket, None)?),
            Some(pair) => match Certificates::read(pair.clone()) {
                Ok(certificates) => Door::Open(Open::listen(socket, Some(certificates))?),
                Err(error) => {
                    let why = error.to_string();
                    tracing::warn!(%address, why, "no alerts are received until the certificate can be read");
                    Door::Closed(socket, pair, why)
                }
            },
        };
        Ok(Self { address, door })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves requests until `stop`. Requests in hand are answered.
    pub async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) {
        match stop.run_until_cancelled(self.door.open()).await {
            Some(Ok(open)) => open.serve(desk, stop).await,
            Some(Err(error)) => tracing::error!(%error, address = %self.address, "cannot receive alerts"),
            None => {}
        }
    }
}

impl Door {
    /// Waits for the certificate, and logs why it cannot be read whenever that changes.
    async fn open(self) -> io::Result<Open> {
        let (socket, pair, mut said) = match self {
            Self::Open(open) => return Ok(open),
            Self::Closed(socket, pair, why) => (socket, pair, why),
        };
        loop {
            sleep(TRY_AGAIN).await;
            match Certificates::read(pair.clone()) {
                Ok(certificates) => return Open::listen(socket, Some(certificates)),
                Err(error) => {
                    let why = error.to_string();
                    if why != said {
                        tracing::warn!(why, "no alerts are received until the certificate can be read");
                        said = why;
                    }
                }
            }
        }
    }
}

impl Open {
    fn listen(socket: TcpSocket, certificates: Option<Certificates>) -> io::Result<Self> {
        let listener = socket.listen(QUEUE)?;
        let tls = certificates.is_some();
        tracing::info!(address = %listener.local_addr()?, tls, "receiving alerts");
        Ok(Self { listener, certificates: certificates.map(Arc::new) })
    }

    /// Serves requests until `stop`. Requests in hand are answered.
    async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MOST));
        let peers = Peers::default();
        let connections = TaskTracker::new();
        while let Some((stream, place, seat)) = stop.run_until_cancelled(self.next(&places, &peers)).await {
            let (desk, stop, certificates) = (Arc::clone(&desk), stop.clone(), self.certificates.clone());
            connections.spawn(async move {
                let _held = (place, seat);
                match certificates {
                    None => converse(stream, desk, stop).await,
                    Some(certificates) => {
                        let shaken = timeout(HEAD_WITHIN, certificates.acceptor().accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            converse(stream, desk, stop).await;
                        }
                    }
                }
            });
        }
        connections.close();
        connections.wait().await;
    }

    /// The next connection, once there is a place for it. One of an address that has enough of them is closed at once.
    async fn next(&self, places: &Arc<Semaphore>, peers: &Peers) -> (TcpStream, OwnedSemaphorePermit, Seat) {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(places).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(seat) = peers.seat(peer.ip()) {
                        return (stream, place, seat);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    sleep(AFTER_TROUBLE).await;
                }
            }
        }
    }
}

/// Answers the requests of one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    desk: Arc<Desk>,
    stop: CancellationToken,
) {
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, std::convert::Infallible>(desk.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(LONGEST_HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let end = Instant::now() + LASTS;
    // How a connection ends concerns only its client.
    let taking = timeout(TAKES_FOR, stop.run_until_cancelled(connection.as_mut())).await;
    if !matches!(taking, Ok(Some(_))) {
        connection.as_mut().graceful_shutdown();
        let _ = timeout_at(end, connection).await;
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
