//! A control plane, servers, processes, and what the controller asks.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use filejobs_crd::FileJob;
use filejobs_testkit::cluster::Member;
use filejobs_testkit::gateway::{Asked, Gateway};
use filejobs_testkit::kube::client::define;
use filejobs_testkit::kube::{ADMIN_TOKEN, KubeServer, kubeconfig_at};
use kube::{Api, Client};

use crate::service;

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
        let client = kube.client(ADMIN_TOKEN, NAMESPACE).await?;
        define(client.clone(), &filejobs_crd::definition()).await?;
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
