//! TLS in front of a server that speaks none, with a certificate that nobody trusts but those who are told to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What listens with TLS and hands on to a server. It ends with the value.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    home: TempDir,
    /// Ends when it is dropped.
    _accepting: JoinSet<()>,
}

impl TlsFront {
    /// Listens on a free port of this machine, as `127.0.0.1` and as `localhost`, for connections to `server`.
    pub async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        make_certificate(home.path())?;
        let acceptor = TlsAcceptor::from(Arc::new(settings(home.path())?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, acceptor, server));
        Ok(Self {
            address,
            home,
            _accepting: accepting,
        })
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The file with its certificate, for those who are to trust it: what `SSL_CERT_FILE` takes.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join("certificate.pem")
    }
}

fn make_certificate(home: &Path) -> anyhow::Result<()> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        // One that may sign others may not stand for a server.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(home.join("key.pem"))
        .arg("-out")
        .arg(home.join("certificate.pem"))
        .stderr(Stdio::null())
        .status();
    let made = made.context("openssl is not installed")?;
    ensure!(made.success(), "openssl made no certificate");
    Ok(())
}

fn settings(home: &Path) -> anyhow::Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(home.join("certificate.pem"))?;
    let key = PrivateKeyDer::from_pem_file(home.join("key.pem"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(settings)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, server: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error ends it, and whoever uses it meets closed connections.
                let Ok((client, _)) = accepted else { return };
                connections.spawn(carry(client, acceptor.clone(), server));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until either side closes it. One that breaks, or is not trusted, is its client's business.
async fn carry(client: TcpStream, acceptor: TlsAcceptor, server: SocketAddr) {
    let both = async {
        let mut upstream = TcpStream::connect(server).await?;
        let mut client = acceptor.accept(client).await?;
        copy_bidirectional(&mut client, &mut upstream).await
    };
    let _ = both.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn only_those_who_trust_its_certificate_are_carried_through() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TlsFront::start(server.local_addr().unwrap()).await.unwrap();
        let mut answering = JoinSet::new();
        answering.spawn(async move {
            while let Ok((mut client, _)) = server.accept().await {
                let mut request = [0; 1024];
                if client.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                    client.write_all(answer).await.unwrap();
                }
            }
        });
        let stranger = http::client().unwrap();
        assert!(stranger.get(front.url()).send().await.is_err());
        let certificate = std::fs::read(front.certificate()).unwrap();
        let certificate = reqwest::Certificate::from_pem(&certificate).unwrap();
        let friend = reqwest::Client::builder().tls_certs_only([certificate]);
        let friend = friend.build().unwrap();
        let answer = friend.get(front.url()).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "hi");
    }
}
