//! Which port.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::Context as _;
use tokio::net::TcpListener;

/// Where the service listens unless told otherwise.
pub(crate) const DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

/// Listens where it was asked to, and nowhere else; without a wish on the default port, or on a free one when that is
/// taken. Says whether it had to move.
pub(crate) async fn bind(wanted: Option<SocketAddr>) -> anyhow::Result<(TcpListener, bool)> {
    let Some(address) = wanted else {
        return match TcpListener::bind(DEFAULT).await {
            Ok(listener) => Ok((listener, false)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let free = SocketAddr::new(DEFAULT.ip(), 0);
                Ok((
                    TcpListener::bind(free).await.context("no port is free")?,
                    true,
                ))
            }
            Err(error) => Err(error).with_context(|| format!("{DEFAULT} cannot be listened on")),
        };
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be listened on; choose another with --listen")
    })?;
    Ok((listener, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
        let (first, _) = bind(Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let error = bind(Some(first.local_addr().unwrap())).await.unwrap_err();
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
