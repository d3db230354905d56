use std::collections::HashSet;
use std::sync::Arc;

use filejobs_core::Sources;
use filejobs_testkit::names;
use filejobs_testkit::proxy::{Link as Network, Proxy};
use filejobs_testkit::redis::RedisServer;
use filejobs_testkit::wait;

use super::*;
use crate::conformance::ticket;

/// Longer than any call may take that gets no answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a healthy server does at once, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(1);

fn config(url: &str, stream: &str) -> Config {
    let consumer = names::unique("consumer");
    let mut config = Config::new(url.parse().unwrap(), consumer, Sources::system());
    config.stream = stream.to_owned();
    config
}

fn stream() -> String {
    names::unique("tasks")
}

/// A queue on a stream of its own on the shared server.
fn queue() -> Redis {
    Redis::new(config(&RedisServer::shared().url(), &stream())).unwrap()
}

fn queue_on(server: &RedisServer) -> Redis {
    Redis::new(config(&server.url(), "tasks")).unwrap()
}

async fn take(queue: &Redis, max: usize) -> Vec<Delivery> {
    queue.receive(max, SOON).await.unwrap()
}

/// Receives and acknowledges until `count` tickets are there, going on after errors as a worker does.
async fn drain(queue: &Redis, count: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    let ends = Instant::now() + SOON;
    while tickets.len() < count {
        assert!(Instant::now() < ends, "only {tickets:?} came");
        let received = queue.receive(count - tickets.len(), Duration::from_millis(100));
        for delivery in received.await.unwrap_or_default() {
            tickets.push(delivery.ticket);
            let _ = queue.ack(&delivery).await;
        }
    }
    tickets
}

async fn until_blocked(server: &RedisServer, count: u32) {
    let wanted = format!("blocked_clients:{count}");
    let blocked = wait::until(&wanted, SOON, async || {
        let info = server.command(&["INFO", "clients"])?;
        Ok(info.lines().any(|line| line == wanted).then_some(()))
    });
    blocked.await.unwrap();
}

mod conformance {
    crate::conformance_tests!(async { super::queue() });
}

#[tokio::test]
async fn two_consumers_never_get_the_same_ticket() {
    let (url, stream) = (RedisServer::shared().url(), stream());
    let consumers: Vec<_> = (0..2)
        .map(|_| Arc::new(Redis::new(config(&url, &stream)).unwrap()))
        .collect();
    let sent: Vec<_> = (0..2_000).map(|n| ticket(n, 0)).collect();
    consumers[0].publish(&sent).await.unwrap();
    let takers: Vec<_> = consumers
        .iter()
        .map(|queue| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut tickets = Vec::new();
                loop {
                    let taken = queue.receive(7, Duration::from_millis(50)).await.unwrap();
                    if taken.is_empty() {
                        return tickets;
                    }
                    for delivery in &taken {
                        queue.ack(delivery).await.unwrap();
                    }
                    tickets.extend(taken.into_iter().map(|d| d.ticket.task));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.unwrap());
    }
    assert_eq!(all.len(), sent.len());
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), sent.len());
}

#[tokio::test]
async fn what_is_acknowledged_leaves_nothing_behind() {
    let queue = queue();
    let sent: Vec<_> = (0..20).map(|n| ticket(n, 0)).collect();
    queue.publish(&sent).await.unwrap();
    assert_eq!(drain(&queue, 20).await, sent);
    let length = RedisServer::shared().command(&["XLEN", &queue.config.stream]);
    assert_eq!(length.unwrap(), "0");
}

#[tokio::test]
async fn what_a_dead_consumer_had_taken_goes_to_another() {
    let (url, stream) = (RedisServer::shared().url(), stream());
    let dead = Redis::new(config(&url, &stream)).unwrap();
    dead.publish(&[ticket(1, 0), ticket(2, 0)]).await.unwrap();
    assert_eq!(take(&dead, 1).await.len(), 1);
    let name = dead.config.consumer.clone();
    drop(dead);

    let mut config = config(&url, &stream);
    config.pending_idle = Duration::from_millis(40);
    config.consumer_gone = Duration::from_millis(40);
    let living = Redis::new(config).unwrap();
    let mut tickets = drain(&living, 2).await;
    tickets.sort_by_key(|ticket| ticket.task);
    assert_eq!(tickets, [ticket(1, 0), ticket(2, 0)]);

    let gone = wait::until("the dead consumer to be removed", SOON, async || {
        living.receive(1, Duration::from_millis(20)).await?;
        let listed = RedisServer::shared().command(&["XINFO", "CONSUMERS", &stream, GROUP])?;
        Ok((!listed.contains(&name)).then_some(listed))
    });
    let listed = gone.await.unwrap();
    assert!(listed.contains(&living.config.consumer), "{listed}");
}

#[tokio::test]
async fn a_consumer_that_still_holds_something_is_not_removed() {
    let (url, stream) = (RedisServer::shared().url(), stream());
    let slow = Redis::new(config(&url, &stream)).unwrap();
    slow.publish(&[ticket(1, 0)]).await.unwrap();
    let held = take(&slow, 1).await;

    let mut config = config(&url, &stream);
    config.consumer_gone = Duration::ZERO;
    config.pending_idle = Duration::from_hours(1);
    let other = Redis::new(config).unwrap();
    for _ in 0..3 {
        assert!(other.receive(1, Duration::ZERO).await.unwrap().is_empty());
    }
    let listed = RedisServer::shared().command(&["XINFO", "CONSUMERS", &stream, GROUP]);
    assert!(listed.unwrap().contains(&slow.config.consumer));
    slow.ack(&held[0]).await.unwrap();
    assert_eq!(slow.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn a_receive_that_is_dropped_stands_in_nobodys_way() {
    let server = RedisServer::start().unwrap();
    let (gone, waiting) = (Arc::new(queue_on(&server)), queue_on(&server));
    let dropped = tokio::spawn({
        let gone = gone.clone();
        async move { gone.receive(1, SOON).await }
    });
    until_blocked(&server, 1).await;
    dropped.abort();
    // The server serves the one first that waits longest, and would let it go by itself in the end.
    let unblocked = wait::until("it to be let go", SOON, async || {
        let told = server.command(&["INFO", "commandstats"])?;
        Ok(told.contains("cmdstat_client|unblock:").then_some(()))
    });
    unblocked.await.unwrap();
    until_blocked(&server, 0).await;
    let sent = [ticket(1, 0)];
    let (taken, published) = tokio::join!(take(&waiting, 1), gone.publish(&sent));
    published.unwrap();
    assert_eq!(taken[0].ticket, sent[0]);
}

#[tokio::test]
async fn a_server_that_is_wiped_goes_on_serving_those_who_wait() {
    let server = RedisServer::start().unwrap();
    let queue = Arc::new(queue_on(&server));
    for n in 1..=3 {
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { drain(&queue, 1).await }
        });
        until_blocked(&server, 1).await;
        server.flush().unwrap();
        queue.publish(&[ticket(n, 0)]).await.unwrap();
        let tickets = tokio::time::timeout(SOON, waiting).await;
        assert_eq!(tickets.unwrap().unwrap(), [ticket(n, 0)]);
    }
}

#[tokio::test]
async fn a_server_that_was_killed_goes_on_where_it_was() {
    let mut server = RedisServer::start().unwrap();
    let queue = queue_on(&server);
    let sent = [ticket(1, 0), ticket(2, 0), ticket(3, 0)];
    queue.publish(&sent).await.unwrap();
    let taken = take(&queue, 1).await;
    server.kill().unwrap();
    assert!(matches!(
        queue.ack(&taken[0]).await,
        Err(Error::Unavailable(_))
    ));
    assert!(matches!(queue.ping().await, Err(Error::Unavailable(_))));
    let received = queue.receive(1, SOON).await;
    assert!(matches!(received, Err(Error::Unavailable(_))));
    server.restart().unwrap();
    queue.ack(&taken[0]).await.unwrap();
    assert_eq!(drain(&queue, 2).await, sent[1..]);
    assert_eq!(queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_lost_everything_starts_anew() {
    let mut server = RedisServer::start().unwrap();
    let queue = queue_on(&server);
    queue.publish(&[ticket(1, 0)]).await.unwrap();
    let taken = take(&queue, 1).await;
    server.restart_empty().unwrap();
    queue.ack(&taken[0]).await.unwrap();
    queue.publish(&[ticket(1, 0), ticket(2, 0)]).await.unwrap();
    assert_eq!(drain(&queue, 2).await, [ticket(1, 0), ticket(2, 0)]);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_unavailable_in_time_and_then_well_again() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let queue = Redis::new(config(&format!("redis://{}", proxy.address()), "tasks")).unwrap();
    queue.publish(&[ticket(1, 0)]).await.unwrap();
    let taken = take(&queue, 1).await;

    proxy.set(Network::Silent);
    for _ in 0..2 {
        let calls = async {
            let more = [ticket(2, 0)];
            tokio::join!(
                queue.publish(&more),
                queue.ack(&taken[0]),
                queue.ping(),
                async { queue.depth().await.map(drop) },
                async { queue.receive(1, Duration::from_secs(1)).await.map(drop) },
            )
        };
        let answers = tokio::time::timeout(PATIENCE, calls).await.unwrap();
        let answers = [answers.0, answers.1, answers.2, answers.3, answers.4];
        for answer in answers {
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        }
    }
    proxy.set(Network::Open);
    queue.ack(&taken[0]).await.unwrap();
    queue.publish(&[ticket(3, 0)]).await.unwrap();
    let tickets = wait::until("the ticket", SOON, async || {
        let received = queue.receive(5, Duration::from_millis(100)).await;
        let received = received.unwrap_or_default();
        let found = received.iter().any(|d| d.ticket == ticket(3, 0));
        Ok(found.then_some(()))
    });
    tickets.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let queue = Redis::new(config(&format!("redis://{}", proxy.address()), "tasks")).unwrap();
    for n in 0..3 {
        queue.ping().await.unwrap();
        proxy.set(Network::Cut);
        assert!(queue.ping().await.is_err(), "{n}");
        proxy.set(Network::Open);
        queue.publish(&[ticket(n, 0)]).await.unwrap();
        assert_eq!(drain(&queue, 1).await, [ticket(n, 0)]);
    }
}

/// The number that the server has given to the connection of all short calls.
async fn connection(queue: &Redis) -> Value {
    let told = queue.link.one(redis::cmd("CLIENT").arg("ID")).await;
    told.unwrap()
}

#[tokio::test]
async fn a_connection_to_a_server_that_became_a_copy_is_given_up() {
    let server = RedisServer::start().unwrap();
    let queue = queue_on(&server);
    queue.publish(&[ticket(1, 0)]).await.unwrap();
    let taken = take(&queue, 1).await;
    let first = connection(&queue).await;
    // It keeps what it has, and closes no connection: nobody answers at that port.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();

    let published = queue.publish(&[ticket(2, 0)]).await;
    assert!(
        matches!(published, Err(Error::Unavailable(_))),
        "{published:?}"
    );
    let second = connection(&queue).await;
    assert_ne!(first, second);
    let acknowledged = queue.ack(&taken[0]).await;
    assert!(
        matches!(acknowledged, Err(Error::Unavailable(_))),
        "{acknowledged:?}"
    );
    assert_ne!(second, connection(&queue).await);

    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    queue.ack(&taken[0]).await.unwrap();
    queue.publish(&[ticket(2, 0)]).await.unwrap();
    assert_eq!(drain(&queue, 1).await, [ticket(2, 0)]);
}

#[tokio::test]
async fn entries_that_are_no_tickets_hold_up_nobody() {
    let (server, queue) = (RedisServer::shared(), queue());
    let stream = &*queue.config.stream;
    let garbage: [&[&str]; 3] = [
        &["x", "y"],
        &["v", "1", "task", "nonsense", "attempt", "0"],
        &["v", "one"],
    ];
    for fields in garbage {
        let command: Vec<_> = ["XADD", stream, "*"]
            .iter()
            .chain(fields)
            .copied()
            .collect();
        server.command(&command).unwrap();
    }
    let newer = server.command(&["XADD", stream, "*", "v", "2", "what", "ever"]);
    let newer = newer.unwrap();
    queue.publish(&[ticket(1, 0)]).await.unwrap();
    assert_eq!(drain(&queue, 1).await, [ticket(1, 0)]);

    let removed = wait::until("the garbage to be removed", SOON, async || {
        let length = server.command(&["XLEN", stream])?;
        Ok((length == "1").then_some(()))
    });
    removed.await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), 0);
    // A worker that understands it need not wait for it.
    let idle = super::reader::millis(queue.config.pending_idle).to_string();
    let claim = ["XAUTOCLAIM", stream, GROUP, "newer-worker", &idle, "0"];
    let claimed = server.command(&claim).unwrap();
    assert!(claimed.contains(&newer), "{claimed}");
}

#[tokio::test]
async fn a_full_queue_keeps_what_fits_and_says_so() {
    let mut config = config(&RedisServer::shared().url(), &stream());
    config.capacity = 2;
    let queue = Redis::new(config).unwrap();
    let tickets = [ticket(1, 0), ticket(2, 0), ticket(3, 0)];
    assert!(matches!(queue.publish(&tickets).await, Err(Error::Full)));
    assert_eq!(queue.depth().await.unwrap(), 2);
    assert_eq!(drain(&queue, 2).await, tickets[..2]);
    queue.publish(&tickets[2..]).await.unwrap();
    assert_eq!(drain(&queue, 1).await, tickets[2..]);
}

#[tokio::test]
async fn a_server_without_memory_is_full() {
    let server = RedisServer::start_with(&["--maxmemory", "1"]).unwrap();
    let queue = queue_on(&server);
    let published = queue.publish(&[ticket(1, 0)]).await;
    assert!(matches!(published, Err(Error::Full)), "{published:?}");
}

#[tokio::test]
async fn publishing_again_what_waits_does_not_fill_the_queue() {
    let server = RedisServer::start().unwrap();
    let queue = queue_on(&server);
    let tickets = [ticket(1, 0), ticket(2, 0)];
    for _ in 0..5 {
        queue.publish(&tickets).await.unwrap();
    }
    assert_eq!(queue.depth().await.unwrap(), 2);
    // Taken, but not acknowledged: whoever has it may be dead.
    let taken = take(&queue, 1).await;
    queue.publish(&tickets).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), 2);
    queue.ack(&taken[0]).await.unwrap();
    server.flush().unwrap();
    queue.publish(&tickets).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), 2);
}

#[tokio::test]
async fn a_server_is_checked_for_what_the_queue_needs() {
    let well = queue().check().await.unwrap();
    assert_eq!(well, []);

    let settings = ["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"];
    let server = RedisServer::start_with(&settings).unwrap();
    let policy = "allkeys-lru".to_owned();
    let expected = [Warning::NotPersistent, Warning::Evicts { policy }];
    assert_eq!(queue_on(&server).check().await.unwrap(), expected);

    let allow = [
        "ACL", "SETUSER", "app", "on", ">s3cret", "~*", "+@all", "-info",
    ];
    server.command(&allow).unwrap();
    let url = |password| format!("redis://app:{password}@{}", server.address());
    let forbidden = Redis::new(config(&url("s3cret"), "tasks")).unwrap();
    assert_eq!(forbidden.check().await.unwrap().len(), 3);

    let refused = Redis::new(config(&url("s3cret-but-wrong"), "tasks")).unwrap();
    let error = refused.check().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert!(!format!("{error} {cause} {refused:?}").contains("s3cret"));
}

/// Certificates come from the system's store, which is chosen by the environment: so the test runs itself again in
/// another one.
#[tokio::test]
async fn a_server_is_reached_by_tls_and_only_with_a_certificate_that_is_trusted() {
    const URL: &str = "TEST_REDIS_URL";
    if let Ok(url) = std::env::var(URL) {
        let queue = Redis::new(config(&url, "tasks")).unwrap();
        queue.publish(&[ticket(1, 0)]).await.unwrap();
        assert_eq!(drain(&queue, 1).await, [ticket(1, 0)]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let port = filejobs_testkit::tethered::free_port().unwrap().to_string();
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let settings = [
        "--tls-port",
        &port,
        "--tls-key-file",
        key,
        "--tls-cert-file",
        certificate,
        "--tls-ca-cert-file",
        certificate,
        "--tls-auth-clients",
        "no",
    ];
    let _server = RedisServer::start_with(&settings).unwrap();
    let url = format!("rediss://127.0.0.1:{port}");

    let strange = Redis::new(config(&url, "tasks")).unwrap();
    assert!(matches!(strange.ping().await, Err(Error::Unavailable(_))));

    let name =
        "redis::tests::a_server_is_reached_by_tls_and_only_with_a_certificate_that_is_trusted";
    let trusting = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(URL, &url)
        .env("SSL_CERT_FILE", certificate)
        .output();
    let trusting = trusting.await.unwrap();
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(said.contains("1 passed"), "{said}");
}
