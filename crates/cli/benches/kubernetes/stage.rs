//! A control plane, servers, processes, and what the controller asks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use filejobs_crd::FileJob;
use filejobs_testkit::cluster::Member;
use filejobs_testkit::gateway::{Asked, Gateway};
use filejobs_testkit::kube::{ADMIN_TOKEN, KubeServer, kubeconfig_at};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::CustomResourceExt as _;
use kube::{Api, Client, Config};

use crate::service;

/// Longest wait for the definition to be served.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Where everything happens.
pub(crate) const NAMESPACE: &str = "default";

/// A service on a control plane.
pub(crate) struct Stage {
    pub(crate) service: service::Stage,
    pub(crate) client: Client,
    pub(crate) controller: Option<Member>,
    gateway: Gateway,
    kubeconfig: PathBuf,
    workers: Vec<Member>,
    _kube: KubeServer,
}

impl Stage {
    /// All but a worker.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let service = service::Stage::set().await?;
        let kube = KubeServer::start()?;
        let gateway = Gateway::start(&kube)?;
        let kubeconfig = service.cluster.files().with_file_name("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_at(gateway.address(), ADMIN_TOKEN))?;
        let config = Kubeconfig::from_yaml(&kube.kubeconfig(ADMIN_TOKEN))?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options);
        let client = Client::try_from(config.await?)?;
        define(client.clone()).await?;
        let mut stage = Self {
            service,
            client,
            controller: None,
            gateway,
            kubeconfig,
            workers: Vec::new(),
            _kube: kube,
        };
        stage.start_controller().await?;
        Ok(stage)
    }

    /// With a worker.
    pub(crate) async fn with_worker() -> anyhow::Result<Self> {
        let mut stage = Self::set().await?;
        let worker = stage.service.cluster.spawn(&["worker"]).await?;
        stage.workers.push(worker);
        Ok(stage)
    }

    /// Starts a controller and waits until it is ready.
    pub(crate) async fn start_controller(&mut self) -> anyhow::Result<()> {
        let mut command = self.service.cluster.command(&["controller"]);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("FILEJOBS_LEASE_NAMESPACE", NAMESPACE);
        let mut controller = self.service.cluster.launch(command)?;
        controller.until_ready().await?;
        self.controller = Some(controller);
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        let controller = self.controller.as_ref().context("no controller runs")?;
        Ok(controller.pid())
    }

    pub(crate) fn objects(&self) -> Api<FileJob> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// What the controller asked from one moment to another.
    pub(crate) fn asked(&self, from: Instant, to: Instant) -> Vec<Asked> {
        let mut asked = self.gateway.asked();
        asked.retain(|asked| (from..to).contains(&asked.at));
        asked
    }
}

async fn define(client: Client) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let parameters = PatchParams::apply("bench").force();
    let name = FileJob::crd_name();
    let definition = Patch::Apply(filejobs_crd::definition());
    definitions.patch(name, &parameters, &definition).await?;
    let established = kube::runtime::conditions::is_crd_established();
    let established = kube::runtime::wait::await_condition(definitions, name, established);
    tokio::time::timeout(ESTABLISHED, established).await??;
    Ok(())
}
