//! Which addresses a request may go to, checked when it connects: a name may mean another address by then.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::{BoxError, Service};

/// The addresses that a client may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every address: whoever set the URL owns this process.
    Anywhere,
    /// No address of this machine, none that is local to a link, and no metadata service of a cloud.
    Others,
    /// The same, and this machine, because the URL says so.
    OthersAndThisMachine,
}

impl Reach {
    /// What the URL of an endpoint may reach: this machine only if the URL says so literally.
    pub fn of(url: &Uri) -> Self {
        let says_so = url.host().is_some_and(|host| match literal(host) {
            Some(address) => address.is_loopback(),
            None => host.eq_ignore_ascii_case("localhost"),
        });
        if says_so { Self::OthersAndThisMachine } else { Self::Others }
    }

    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// It may not. The text says what it is, in words.
    pub fn check(self, address: IpAddr) -> Result<(), Refused> {
        match (self, sort(address)) {
            (Self::Anywhere, _) | (_, None) | (Self::OthersAndThisMachine, Some("loopback")) => Ok(()),
            (Self::Others | Self::OthersAndThisMachine, Some(what)) => Err(Refused { what }),
        }
    }
}

/// The address that a host of a URL is, if it is one and not a name.
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// An address that is never connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is at a {what} address, which Firebreak never connects to for an endpoint")]
pub struct Refused {
    what: &'static str,
}

/// The metadata services of clouds that are not local to a link.
const METADATA: [IpAddr; 4] = [
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // Google Cloud.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What kind of address it is; none if it is an ordinary one.
fn sort(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("metadata");
    }
    match address {
        IpAddr::V4(address) => sort_v4(address),
        IpAddr::V6(address) => match embedded(address).as_slice() {
            [] => sort_v6(address),
            [inner] => sort(IpAddr::V4(*inner)),
            // Each is one that it may mean; the zeros of another form mean nothing.
            several => {
                let sorts = several.iter().filter_map(|inner| sort(IpAddr::V4(*inner)));
                sorts.into_iter().find(|sort| *sort != "unspecified")
            }
        },
    }
}

fn sort_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_loopback() {
        Some("loopback")
    } else if address.is_link_local() {
        Some("link-local")
    } else if address.octets()[0] == 0 {
        Some("unspecified")
    } else if address.octets()[0] >= 224 {
        Some("multicast or reserved")
    } else {
        None
    }
}

fn sort_v6(address: Ipv6Addr) -> Option<&'static str> {
    // AWS has its services for an instance in a network of its own.
    if address.segments()[..2] == [0xfd00, 0xec2] {
        Some("metadata")
    } else if address.is_loopback() {
        Some("loopback")
    } else if address.is_unspecified() {
        Some("unspecified")
    } else if address.is_unicast_link_local() {
        Some("link-local")
    } else if address.is_multicast() {
        Some("multicast or reserved")
    } else {
        None
    }
}

/// The address of IPv4 to which this one leads: mapped, compatible, translated (NAT64) or tunnelled (6to4). Several if the
/// length of the prefix of the translation is not known.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => vec![of(high, low)],
        // The prefix for local use: the address is behind its 48 bits, around an octet of zeros, or at the end.
        [0x64, 0xff9b, 1, first, second, third, high, low] => {
            vec![of(first, (second << 8) | (third >> 8)), of(high, low)]
        }
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => vec![of(high, low)],
        [0x2002, high, low, ..] => vec![of(high, low)],
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        [0, 0, 0, 0, 0, 0, high, low] => vec![of(high, low)],
        _ => Vec::new(),
    }
}

/// Resolves names, and refuses one if any of its addresses may not be connected to.
#[derive(Clone)]
pub struct Resolver {
    names: GaiResolver,
    reach: Reach,
}

impl Resolver {
    /// A resolver for what may be reached.
    pub fn new(reach: Reach) -> Self {
        Self { names: GaiResolver::new(), reach }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("reach", &self.reach).finish()
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.names.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, reach) = (self.names.call(name), self.reach);
        Box::pin(async move {
            let found: Vec<SocketAddr> = found.await?.collect();
            found.iter().try_for_each(|address| reach.check(address.ip()))?;
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(url: &str) -> Reach {
        Reach::of(&url.parse().unwrap())
    }

    #[test]
    fn no_endpoint_leads_to_a_metadata_service_however_its_address_is_written() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:ec2:1::1",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1::169.254.169.254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "::ffff:100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            for reach in [Reach::Others, Reach::OthersAndThisMachine] {
                assert!(reach.check(address).is_err(), "{address} {reach:?}");
            }
            assert_eq!(Reach::Anywhere.check(address), Ok(()));
        }
    }

    #[test]
    fn this_machine_is_reached_only_if_the_url_says_so() {
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b:1:7f00:0:100::"] {
            let address: IpAddr = address.parse().unwrap();
            assert!(Reach::Others.check(address).is_err(), "{address}");
            assert_eq!(Reach::OthersAndThisMachine.check(address), Ok(()), "{address}");
        }
        for url in ["http://127.0.0.1:9090", "http://[::1]:9090/x", "http://localhost", "https://LOCALHOST:1"]
        {
            assert_eq!(reach(url), Reach::OthersAndThisMachine, "{url}");
        }
        for url in ["http://prometheus.monitoring:9090", "http://10.0.0.1", "http://localhost.example.com"] {
            assert_eq!(reach(url), Reach::Others, "{url}");
        }
    }

    #[test]
    fn ordinary_addresses_of_clusters_and_of_the_internet_are_reached() {
        for address in [
            "10.96.0.10",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "8.8.8.8",
            "fd12::1",
            "2606:4700::1",
            "64:ff9b:1:a00:0:100::",
            "64:ff9b:1::10.0.0.1",
        ] {
            assert_eq!(Reach::Others.check(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_does_not_resolve_for_others() {
        let resolve = |reach| {
            let mut resolver = Resolver::new(reach);
            async move { resolver.call("localhost".parse().unwrap()).await.map(Iterator::count) }
        };
        let refused = resolve(Reach::Others).await.unwrap_err().to_string();
        assert!(refused.contains("loopback address"), "{refused}");
        assert!(resolve(Reach::OthersAndThisMachine).await.unwrap() > 0);
    }
}
