//! Which controller of several works: the one that holds a Lease of the cluster.
//!
//! Who holds it says so every [`Election::retry`], and gives up when it could not for [`Election::renew_deadline`],
//! which ends before anybody else may take the Lease. Those that stand by measure by their own clock how long the Lease
//! has stood still, so that clocks that differ harm nobody. Every write names the version that was read. A holder that
//! was stopped for too long and goes on is fenced in the database, where its name no longer leads.

use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{SchedulerId, Sources, causes};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Election;
use crate::error::{Error, is_absent, is_conflict};

/// Longest wait for the Lease to be given up: it ends by itself.
const GIVE_UP: Duration = Duration::from_secs(5);

/// The Lease, as one controller competes for it.
#[derive(Debug)]
pub(crate) struct Contest {
    api: Api<Lease>,
    election: Election,
    holder: String,
    sources: Sources,
    /// The version that was seen last, and since when.
    seen: Option<(String, Instant)>,
    /// The uid of the Lease that was seen last.
    uid: Arc<str>,
}

impl Contest {
    pub(crate) fn new(
        client: Client,
        sources: Sources,
        holder: &SchedulerId,
        election: Election,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &election.namespace),
            holder: holder.as_str().to_owned(),
            election,
            sources,
            seen: None,
            uid: Arc::default(),
        }
    }

    /// What this cluster is known by, once this controller holds the Lease: another cluster's Lease has another uid, and
    /// so has one that was deleted and made again.
    pub(crate) fn cluster(&self) -> Arc<str> {
        self.uid.clone()
    }

    /// Waits until this controller holds the Lease. Until when it does, by the last renewal; `None` when it shall stop.
    pub(crate) async fn win(&mut self, stop: &CancellationToken) -> Option<Instant> {
        let mut told = false;
        loop {
            let asked = Instant::now();
            match self.ask().await {
                Ok(true) => return Some(asked),
                Ok(false) => told = false,
                Err(error) => {
                    if !told {
                        tracing::warn!(error = causes::chain(&error), "who leads cannot be told");
                    }
                    told = true;
                }
            }
            // Two that stand by do not ask at the same moment for ever.
            let jitter = self.sources.randomness.unit() / 4.0;
            let pause = self.election.retry.mul_f64(1.0 - jitter);
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(pause) => {}
            }
        }
    }

    /// Keeps the Lease, renewed last at `renewed`, until it is lost; answers why.
    pub(crate) async fn keep(&mut self, mut renewed: Instant) -> Error {
        loop {
            sleep(self.election.retry).await;
            let end = renewed + self.election.renew_deadline;
            let asked = Instant::now();
            match timeout_at(end, self.ask()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => return Error::LeadLost("another controller holds the Lease"),
                Ok(Err(error)) => {
                    tracing::warn!(error = causes::chain(&error), "the Lease was not renewed");
                }
                Err(_) => {}
            }
            if Instant::now() >= end && renewed + self.election.renew_deadline <= end {
                return Error::LeadLost("the Lease could not be renewed in time");
            }
        }
    }

    /// Lets another lead at once.
    pub(crate) async fn give_up(&mut self) {
        let given = timeout(GIVE_UP, async {
            let mut lease = self.api.get(&self.election.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.holder) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.renew_time = None;
            let name = &self.election.name;
            self.api
                .replace(name, &PostParams::default(), &lease)
                .await
                .map(drop)
        });
        match given.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the Lease ends by itself"),
            Err(_) => tracing::info!("the Lease ends by itself"),
        }
    }

    /// Takes or renews the Lease; false while another holds it.
    async fn ask(&mut self) -> Result<bool, Error> {
        let asked = timeout(self.election.answer, self.get_and_take()).await;
        let slow = Error::Slow {
            step: "asking for the Lease",
        };
        match asked.unwrap_or(Err(slow)) {
            // Another was faster.
            Err(Error::Cluster { source, .. }) if is_conflict(&source) => Ok(false),
            answer => answer,
        }
    }

    async fn get_and_take(&mut self) -> Result<bool, Error> {
        let name = self.election.name.clone();
        let lease = match self.api.get(&name).await {
            Ok(lease) => lease,
            Err(error) if is_absent(&error) => return self.make().await,
            Err(error) => return Err(Error::cluster("to read the Lease")(error)),
        };
        if !self.may_take(&lease) {
            return Ok(false);
        }
        let lease = self.taken(lease);
        // It holds the version that was read: a conflict means that another was faster.
        let written = self
            .api
            .replace(&name, &PostParams::default(), &lease)
            .await;
        let written = written.map_err(Error::cluster("to take the Lease"))?;
        self.see(&written);
        Ok(true)
    }

    async fn make(&mut self) -> Result<bool, Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.election.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        let lease = self.taken(lease);
        let made = self.api.create(&PostParams::default(), &lease).await;
        let made = made.map_err(Error::cluster("to make the Lease"))?;
        self.see(&made);
        Ok(true)
    }

    fn see(&mut self, lease: &Lease) {
        self.uid = lease.metadata.uid.as_deref().unwrap_or_default().into();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
    }

    /// Whether it is ours, nobody's, or has stood still for longer than its holder may stay silent.
    fn may_take(&mut self, lease: &Lease) -> bool {
        self.see(lease);
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        let said = spec.and_then(|spec| spec.lease_duration_seconds);
        let said = said.and_then(|seconds| u64::try_from(seconds).ok());
        let silence = said.map_or(self.election.duration, Duration::from_secs);
        match holder {
            None | Some("") => true,
            Some(holder) if holder == self.holder => true,
            Some(_) => {
                let still = self.seen.as_ref().map(|(_, since)| since.elapsed());
                still.is_some_and(|still| still > silence)
            }
        }
    }

    fn taken(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(self.sources.now());
        let old = lease.spec.take().unwrap_or_default();
        let same = old.holder_identity.as_ref() == Some(&self.holder);
        let transitions = old.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: i32::try_from(self.election.duration.as_secs()).ok(),
            acquire_time: if same {
                old.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(!same)),
            ..old
        });
        lease
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use filejobs_core::sources::Fixed;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;

    /// An API server that has one Lease at most, answers at once, and counts its versions.
    #[derive(Debug, Clone, Default)]
    struct Server(Arc<Mutex<(u64, Option<Value>)>>);

    impl Server {
        async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
            let method = request.method().clone();
            let sent = request.into_body().collect_bytes().await.unwrap();
            let sent = serde_json::from_slice::<Value>(&sent).ok();
            let mut state = self.0.lock().unwrap();
            let (version, kept) = &mut *state;
            let current = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            let code = match (method, &kept, &sent) {
                (Method::GET, Some(_), _) => 200,
                (Method::GET, None, _) => 404,
                (Method::POST, Some(_), _) => 409,
                (Method::PUT, Some(kept), Some(sent)) if current(kept) != current(sent) => 409,
                _ => {
                    *version += 1;
                    let mut lease = sent.unwrap();
                    lease["metadata"]["resourceVersion"] = json!(version.to_string());
                    *kept = Some(lease);
                    200
                }
            };
            let body = match (code, kept) {
                (200, Some(lease)) => lease.clone(),
                _ => json!({"status": "Failure", "message": "", "reason": "", "code": code}),
            };
            let answer = Response::builder().status(code);
            Ok(answer
                .body(Body::from(body.to_string().into_bytes()))
                .unwrap())
        }

        fn contest(&self, holder: &str) -> Contest {
            let server = self.clone();
            let service = tower::service_fn(move |request| server.clone().answer(request));
            let sources = Fixed::new(jiff::Timestamp::UNIX_EPOCH, 0.0).sources();
            let election = Election::new("team", Election::DURATION);
            let holder = SchedulerId::new(holder);
            Contest::new(Client::new(service, "team"), sources, &holder, election)
        }

        fn transitions(&self) -> u64 {
            let state = self.0.lock().unwrap();
            let lease = state.1.as_ref().unwrap();
            lease["spec"]["leaseTransitions"].as_u64().unwrap()
        }
    }

    /// After a leader was killed another leads within this time.
    const FAILOVER: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_silent_is_followed_in_time_and_one_that_renews_is_not() {
        let (server, stop) = (Server::default(), CancellationToken::new());
        let mut first = server.contest("first");
        let won = first.win(&stop).await.unwrap();
        let mut second = server.contest("second");
        let waits = Duration::from_hours(1);
        let neither = tokio::select! {
            lost = first.keep(won) => Some(lost.to_string()),
            _ = second.win(&stop) => Some("the second leads beside the first".to_owned()),
            () = sleep(waits) => None,
        };
        assert_eq!(neither, None);
        // From here on the first says nothing, as one that was killed.
        let killed = Instant::now();
        let since = second.win(&stop).await.unwrap();
        let took = since - killed;
        assert!(took <= FAILOVER, "{took:?}");
        assert_eq!(server.transitions(), 2);
        // Were it only held up, it would learn of it before anything else.
        let lost = first.keep(Instant::now()).await;
        let told = "the lead is lost: another controller holds the Lease";
        assert_eq!(lost.to_string(), told);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_gives_up_before_another_may_lead() {
        let (server, stop) = (Server::default(), CancellationToken::new());
        let mut first = server.contest("first");
        let won = first.win(&stop).await.unwrap();
        // From here on it reaches nobody.
        let nobody = tower::service_fn(|_: Request<Body>| async {
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        });
        first.api = Api::namespaced(Client::new(nobody, "team"), "team");
        let mut second = server.contest("second");
        let leads = tokio::select! {
            lost = first.keep(won) => Err(lost.to_string()),
            _ = second.win(&stop) => Ok(()),
        };
        let told = "the lead is lost: the Lease could not be renewed in time";
        assert_eq!(leads, Err(told.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_it_up_is_followed_at_the_next_look() {
        let (server, stop) = (Server::default(), CancellationToken::new());
        let (mut first, mut second) = (server.contest("first"), server.contest("second"));
        first.win(&stop).await.unwrap();
        assert!(!second.ask().await.unwrap());
        first.give_up().await;
        let gave_up = Instant::now();
        advance(second.election.retry).await;
        let since = second.win(&stop).await.unwrap();
        assert_eq!(since - gave_up, second.election.retry);
    }
}
