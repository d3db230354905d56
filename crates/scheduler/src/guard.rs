//! Keeps what users name (webhooks, files to be fetched) off the operator's own network: which addresses may be
//! connected to.
//!
//! The check stands where names become addresses for the connection itself. What was checked is what is connected to,
//! so a name that resolves to something else a moment later (DNS rebinding) gains nothing. Redirects are not followed
//! and proxies not used, so there is no other way to another address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::{Arc, Once};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, redirect};
use tokio::sync::Semaphore;
use url::Host;

/// Look-ups under way at a time. The system's resolver blocks a thread for as long as it likes; more would take the
/// threads that files need.
const LOOKUPS: usize = 64;

/// A host or network that is connected to although it is private or reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Addresses.
    Network(IpNet),
    /// A name, whatever it resolves to.
    Host(String),
}

/// A text that is no host and no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address, a network such as 10.0.0.0/8, or a host's name is expected")]
pub struct InvalidAllowed;

impl FromStr for Allowed {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, InvalidAllowed> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        match Host::parse(text) {
            Ok(Host::Domain(name)) if !name.is_empty() => Ok(Self::Host(name)),
            Ok(_) | Err(_) => Err(InvalidAllowed),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Host(name) => name.fmt(f),
        }
    }
}

/// All addresses of a host are private or reserved.
#[derive(Debug, thiserror::Error)]
#[error("the address may not be connected to")]
pub struct Refused;

/// A host's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name could not be resolved")]
pub struct Unresolved;

/// Decides which addresses may be connected to, and resolves names to none but those.
#[derive(Debug, Clone)]
pub struct Guard {
    networks: Arc<[IpNet]>,
    hosts: Arc<[String]>,
    lookups: Arc<Semaphore>,
}

impl Guard {
    /// Permits public addresses and these.
    #[must_use]
    pub fn new(allowed: &[Allowed]) -> Self {
        let mut networks = Vec::new();
        let mut hosts = Vec::new();
        for allowed in allowed {
            match allowed {
                Allowed::Network(network) => networks.push(*network),
                Allowed::Host(name) => hosts.push(name.clone()),
            }
        }
        Self {
            networks: networks.into(),
            hosts: hosts.into(),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// Whether a connection to `address` may be made.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
            || is_public(address)
    }

    /// A client of which every connection is checked anew: none is kept, none goes by a proxy, and no redirect is followed.
    /// `more` sets what it is for. Where no root certificates are found it speaks plain HTTP alone, and `fails` is what
    /// will fail then.
    pub fn client(
        &self,
        more: impl Fn(ClientBuilder) -> ClientBuilder,
        fails: &str,
    ) -> reqwest::Result<Client> {
        install_tls();
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("filejobs/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .http1_only()
                .pool_max_idle_per_host(0)
                .retry(reqwest::retry::never())
                .dns_resolver(self.clone());
            more(builder)
        };
        builder().build().or_else(|error| {
            tracing::warn!(%error, "no root certificates were found: {fails} will fail");
            builder().tls_certs_only([]).build()
        })
    }

    /// Refuses a host that is an address already: the connector resolves no such host, so that nothing else would
    /// look at it.
    pub fn check_literal(&self, host: &Host<&str>) -> Result<(), Refused> {
        let address = match host {
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
            Host::Domain(_) => return Ok(()),
        };
        if self.permits(address) {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    async fn lookup(self, name: String) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let named = name.trim_end_matches('.').to_ascii_lowercase();
        let trusted = self.hosts.contains(&named);
        let permit = self.lookups.clone().acquire_owned().await?;
        let found = tokio::task::spawn_blocking(move || {
            // Held until the thread is free, however soon the caller loses patience.
            let _permit = permit;
            (name.as_str(), 0)
                .to_socket_addrs()
                .map(Iterator::collect::<Vec<SocketAddr>>)
        });
        let found = found.await?.map_err(|_| Unresolved)?;
        if found.is_empty() {
            return Err(Unresolved.into());
        }
        let permitted: Vec<_> = found
            .into_iter()
            .filter(|address| trusted || self.permits(address.ip()))
            .collect();
        if permitted.is_empty() {
            return Err(Refused.into());
        }
        Ok(Box::new(permitted.into_iter()))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().lookup(name.as_str().to_owned()))
    }
}

/// Addresses of the public internet. What is not known to be public is not: the list of exceptions grows.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// After <https://www.iana.org/assignments/iana-ipv4-special-registry/>.
const RESERVED_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    v4([224, 0, 0, 0], 3),
];

/// The part of the IPv6 space that is given out, and what is special in it, after
/// <https://www.iana.org/assignments/iana-ipv6-special-registry/>.
const GLOBAL_V6: Ipv6Net = v6(0x2000_0000_0000_0000_0000_0000_0000_0000, 3);
const RESERVED_V6: [Ipv6Net; 4] = [
    // Teredo, benchmarks, ORCHID and more.
    v6(0x2001_0000_0000_0000_0000_0000_0000_0000, 23),
    v6(0x2001_0db8_0000_0000_0000_0000_0000_0000, 32),
    // 6to4: holds an IPv4 address, and nobody uses it any more.
    v6(0x2002_0000_0000_0000_0000_0000_0000_0000, 16),
    v6(0x3fff_0000_0000_0000_0000_0000_0000_0000, 20),
];

/// NAT64: how networks with nothing but IPv6 reach the rest; the IPv4 address in it decides.
const NAT64: Ipv6Net = v6(0x0064_ff9b_0000_0000_0000_0000_0000_0000, 96);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(address: u128, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(address), length)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !RESERVED_V4.iter().any(|network| network.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    GLOBAL_V6.contains(&address) && !RESERVED_V6.iter().any(|network| network.contains(&address))
}

/// Chooses the process' TLS library, unless that is done.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails when the program has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_connected_to() {
        let guard = Guard::new(&[]);
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(!guard.permits(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(guard.permits(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_network_can_be_allowed_and_only_that() {
        let guard = Guard::new(&["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        assert!(guard.permits("10.1.2.3".parse().unwrap()));
        assert!(guard.permits("::ffff:10.1.2.3".parse().unwrap()));
        assert!(guard.permits("::1".parse().unwrap()));
        assert!(!guard.permits("10.2.0.1".parse().unwrap()));
        assert!(!guard.permits("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_allowance_is_a_network_an_address_or_a_name() {
        let parse = |text: &str| text.parse::<Allowed>().map(|allowed| allowed.to_string());
        assert_eq!(parse("10.1.2.3/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(parse("127.0.0.1").as_deref(), Ok("127.0.0.1/32"));
        assert_eq!(parse("Hooks.Internal").as_deref(), Ok("hooks.internal"));
        for wrong in ["", "10.0.0.0/33", "a b", "http://x/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused_unless_allowed() {
        let refused = Guard::new(&[]).lookup("localhost".to_owned()).await;
        let refused = refused.err().expect("loopback is private");
        assert!(refused.is::<Refused>(), "{refused}");
        let by_name = Guard::new(&["localhost".parse().unwrap()]);
        assert!(by_name.lookup("LOCALHOST".to_owned()).await.is_ok());
        let by_network = ["127.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
        let found = Guard::new(&by_network).lookup("localhost".to_owned()).await;
        assert!(found.is_ok_and(|mut all| all.all(|address| address.ip().is_loopback())));
    }
}
