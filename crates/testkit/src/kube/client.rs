//! Clients of a test's control plane, and what they need there.

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config, ResourceExt as _};

use super::KubeServer;
use crate::wait::DEADLINE;

impl KubeServer {
    /// A client of whom a token names, whose namespace is `namespace` where none is said.
    pub async fn client(&self, token: &str, namespace: &str) -> anyhow::Result<Client> {
        // Chooses the TLS library.
        crate::http::client()?;
        let config = Kubeconfig::from_yaml(&self.kubeconfig(token))?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(config, &options).await?;
        namespace.clone_into(&mut config.default_namespace);
        Ok(Client::try_from(config)?)
    }
}

/// Has the API server know a kind, and waits until it serves it.
pub async fn define(client: Client, definition: &CustomResourceDefinition) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let (name, parameters) = (definition.name_any(), PatchParams::apply("test").force());
    let patch = Patch::Apply(definition);
    definitions.patch(&name, &parameters, &patch).await?;
    let established = await_condition(definitions, &name, is_crd_established());
    let established = tokio::time::timeout(DEADLINE, established).await;
    established.context("the definition is not served in time")??;
    Ok(())
}
