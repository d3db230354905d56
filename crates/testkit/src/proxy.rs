//! A network between a client and a server that does what networks do: it delays, falls silent, breaks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::background::Background;

/// What a proxy does with connections and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Everything passes.
    Open,
    /// Everything passes, each piece later by this much in each direction.
    Slow(Duration),
    /// Connections are accepted and stay, and nothing passes in either direction until the link is open again, which
    /// is how a network looks that loses every packet.
    Silent,
    /// Connections break, and new ones are refused at once.
    Cut,
}

/// What connections go by.
#[derive(Debug, Clone, Copy)]
struct State {
    link: Link,
    /// How often it was cut, so that the shortest cut breaks what stood.
    cuts: u64,
}

/// A proxy in front of one server. It lives on a thread of its own, so that it works in any test, and ends with the
/// value.
#[derive(Debug)]
pub struct Proxy {
    background: Background,
    state: watch::Sender<State>,
    carried: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on a free port of this machine for connections to `server`.
    pub fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let open = State {
            link: Link::Open,
            cuts: 0,
        };
        let (state, seen) = watch::channel(open);
        let carried = Arc::new(AtomicU64::new(0));
        let count = carried.clone();
        let serve = move |listener| accept(listener, server, seen, count);
        Ok(Self {
            background: Background::start("proxy", serve)?,
            state,
            carried,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Bytes that have passed in either direction.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Changes what happens from now on, for connections that stand as well.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| {
            state.link = link;
            state.cuts += u64::from(link == Link::Cut);
        });
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    state: watch::Receiver<State>,
    carried: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                connections.spawn(carry(client, server, state.clone(), carried.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until either side closes it or the link is cut.
async fn carry(
    client: TcpStream,
    server: SocketAddr,
    state: watch::Receiver<State>,
    carried: Arc<AtomicU64>,
) {
    let mut cut = state.clone();
    let cuts = cut.borrow().cuts;
    let both = async {
        let mut state = state;
        passable(&mut state).await?;
        let upstream = TcpStream::connect(server).await.ok()?;
        upstream.set_nodelay(true).ok()?;
        client.set_nodelay(true).ok()?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = upstream.into_split();
        tokio::join!(
            one_way(from_client, to_server, state.clone(), &carried),
            one_way(from_server, to_client, state.clone(), &carried),
        );
        Some(())
    };
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|state| state.link == Link::Cut || state.cuts != cuts) => {}
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    carried: &AtomicU64,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let Some(delay) = passable(&mut state).await else {
            return;
        };
        tokio::time::sleep(delay).await;
        // It may have fallen silent meanwhile.
        if passable(&mut state).await.is_none() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        carried.fetch_add(count as u64, Ordering::Relaxed);
    }
    // A closed end is told like bytes are.
    if passable(&mut state).await.is_some() {
        let _ = to.shutdown().await;
    }
}

/// Waits while the link is silent; gives the delay of the piece, `None` when there is no link any more.
async fn passable(state: &mut watch::Receiver<State>) -> Option<Duration> {
    let state = state.wait_for(|state| state.link != Link::Silent).await;
    match state.ok()?.link {
        Link::Open => Some(Duration::ZERO),
        Link::Slow(delay) => Some(delay),
        Link::Silent | Link::Cut => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::DEADLINE;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn says_back(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut back)).await;
        read.expect("an answer or an end")?;
        Ok(back)
    }

    #[tokio::test]
    async fn what_was_said_into_a_silence_comes_through_once_it_ends() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says_back(&mut stream, b"one").await.unwrap(), b"one");
        proxy.set(Link::Silent);
        stream.write_all(b"two").await.unwrap();
        let mut back = [0; 3];
        let silence = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut back));
        assert!(silence.await.is_err());
        proxy.set(Link::Open);
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"two");
    }

    #[tokio::test]
    async fn a_cut_breaks_what_stands_and_refuses_what_comes() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says_back(&mut stream, b"one").await.unwrap(), b"one");
        proxy.set(Link::Cut);
        assert!(says_back(&mut stream, b"two").await.is_err());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says_back(&mut next, b"three").await.is_err());
        proxy.set(Link::Open);
        let mut last = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says_back(&mut last, b"four").await.unwrap(), b"four");
        // However short.
        proxy.set(Link::Cut);
        proxy.set(Link::Open);
        assert!(says_back(&mut last, b"five").await.is_err());
    }
}
