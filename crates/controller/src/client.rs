//! The clients of the cluster: every request has an end, and so has a watch over which nothing comes any more.

use std::time::Duration;

use kube::{Client, Config};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest wait for an answer, and for each further piece of it. An API server waits as long for the slowest admission
/// webhook that it takes.
const ANSWER: Duration = Duration::from_secs(30);

/// Longest wait for the next piece of a watch: longer than an API server keeps one open.
const SILENCE: Duration = Duration::from_secs(320);

/// Longest wait for a request to be taken.
const WRITE: Duration = Duration::from_secs(10);

/// The cluster cannot be found, or its address and credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor the variables and files of a pod are there.
    #[error("no cluster was found: run in a pod with a service account, or set KUBECONFIG")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The client could not be made.
    #[error("the client of the cluster could not be made")]
    Make(#[source] Box<kube::Error>),
}

/// A client for the cluster that the environment names: KUBECONFIG, else the pod's own. A watch needs
/// [`watching_client`].
pub async fn client() -> Result<Client, ClientError> {
    connect(ANSWER).await
}

/// The same for watches, over which nothing may come for minutes. What else it asked could hang as long.
pub async fn watching_client() -> Result<Client, ClientError> {
    connect(SILENCE).await
}

async fn connect(read: Duration) -> Result<Client, ClientError> {
    filejobs_scheduler::guard::install_tls();
    let config = Config::infer().await;
    let mut config = config.map_err(|error| ClientError::Infer(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(read);
    config.reset_reader_on_write = true;
    config.write_timeout = Some(WRITE);
    // Retries are ours, each with a deadline of its own.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Make(Box::new(error)))
}
