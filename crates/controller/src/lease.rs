//! Which controller of several works: the one that holds a Lease of the cluster.
//!
//! Who holds it says so every [`Election::retry`], and gives up when it could not for [`Election::renew_deadline`],
//! which ends before anybody else may take the Lease. Those that stand by measure by their own clock how long the Lease
//! has stood still, so that clocks that differ harm nobody. Every write names the version that was read. A holder that
//! was stopped for too long and goes on is fenced in the database, where its name no longer leads.

use std::time::Duration;

use filejobs_core::causes;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Backends, Config, Election};
use crate::error::{Error, is_absent, is_conflict};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The Lease, as one controller competes for it.
#[derive(Debug)]
pub(crate) struct Contest {
    api: Api<Lease>,
    election: Election,
    holder: String,
    backends: Backends,
    /// The version that was seen last, and since when.
    seen: Option<(String, Instant)>,
}

impl Contest {
    pub(crate) fn new(backends: &Backends, config: &Config) -> Self {
        let election = config.election.clone();
        Self {
            api: Api::namespaced(backends.client.clone(), &election.namespace),
            holder: config.holder.as_str().to_owned(),
            election,
            backends: backends.clone(),
            seen: None,
        }
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
            let jitter = self.backends.sources.randomness.unit() / 4.0;
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
        let given = timeout(ANSWER, async {
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
        let asked = timeout(ANSWER, self.get_and_take()).await;
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
        let now = MicroTime(self.backends.sources.now());
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
