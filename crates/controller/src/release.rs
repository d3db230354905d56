//! Lets go of every object, so that none waits for a controller that does not come back: what is done before an
//! installation is taken away. Jobs, files and results stay in database and storage.
//!
//! The controllers are ended first, since they would take hold of the objects again.

use std::time::Duration;

use filejobs_crd::FileJob;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use crate::config::Watched;
use crate::error::{Error, is_absent, is_conflict};
use crate::finalizer;

/// Longest time for all of it.
const WHOLE: Duration = Duration::from_mins(4);

/// Pause between two looks whether the controllers are gone.
const LOOK: Duration = Duration::from_millis(500);

/// Objects of a page.
const PAGE: u32 = 500;

/// Objects that are let go of at a time.
const AT_A_TIME: usize = 16;

/// Tries of an object that others change meanwhile.
const TRIES: usize = 5;

/// Ends the controllers, when their Deployment is named, and takes our finalizer off all objects that are watched; how
/// many had it. In a cluster that does not know `FileJob` there is nothing to do. May be done again at any time.
///
/// The Deployment is looked for in the client's own namespace, and deleted: it takes until its last pod is gone.
pub async fn release(
    client: &Client,
    watched: &Watched,
    controllers: Option<&str>,
) -> Result<u64, Error> {
    let all = async {
        if let Some(name) = controllers {
            end(client, name).await?;
        }
        let_go_of_all(client, watched).await
    };
    let done = timeout(WHOLE, all).await;
    done.map_err(|_| Error::Slow {
        step: "letting go of objects",
    })?
}

async fn end(client: &Client, name: &str) -> Result<(), Error> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    // In the foreground: it is there until its pods are gone.
    match deployments.delete(name, &DeleteParams::foreground()).await {
        Err(error) if is_absent(&error) => return Ok(()),
        deleted => deleted.map_err(Error::cluster("to delete the controllers"))?,
    };
    loop {
        match deployments.get_metadata(name).await {
            Err(error) if is_absent(&error) => return Ok(()),
            found => found.map_err(Error::cluster("to look for the controllers"))?,
        };
        sleep(LOOK).await;
    }
}

async fn let_go_of_all(client: &Client, watched: &Watched) -> Result<u64, Error> {
    let objects: Api<FileJob> = match watched {
        Watched::All => Api::all(client.clone()),
        Watched::Namespace(own) => Api::namespaced(client.clone(), own),
    };
    let mut freed = 0;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = match objects.list_metadata(&page).await {
            // The cluster does not know the kind.
            Err(error) if is_absent(&error) => return Ok(freed),
            listed => listed.map_err(Error::cluster("to list objects"))?,
        };
        let held = listed.items.into_iter().map(|object| object.metadata);
        freed += stream::iter(held.filter(finalizer::is_on))
            .map(|object| let_go(client, object))
            .buffer_unordered(AT_A_TIME)
            .try_fold(0, |sum, freed| async move { Ok(sum + u64::from(freed)) })
            .await?;
        match listed.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(freed),
        }
    }
}

/// Takes our finalizer off; whether it was there.
async fn let_go(client: &Client, mut object: ObjectMeta) -> Result<bool, Error> {
    let name = object.name.take().ok_or(Error::Nameless("name"))?;
    let namespace = object.namespace.take();
    let namespace = namespace.ok_or(Error::Nameless("namespace"))?;
    let objects: Api<FileJob> = Api::namespaced(client.clone(), &namespace);
    let mut tries = 0;
    while finalizer::is_on(&object) {
        tries += 1;
        match finalizer::take_off(&objects, &name, &object).await {
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) if is_conflict(&error) && tries < TRIES => {}
            patched => {
                patched.map_err(Error::cluster(finalizer::CHANGE))?;
                return Ok(true);
            }
        }
        object = match objects.get_metadata(&name).await {
            Err(error) if is_absent(&error) => return Ok(false),
            found => found.map_err(Error::cluster("to read an object"))?.metadata,
        };
    }
    Ok(false)
}
