//! What database and fetching say of an object.

use filejobs_store::{Job, Store as _};
use filejobs_store_postgres::objects::ObjectLink;

use crate::context::Context;
use crate::error::Error;
use crate::object::Object;

/// What database and fetching say of an object.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) link: Option<ObjectLink>,
    pub(crate) job: Option<Job>,
}

/// Asks.
pub(crate) async fn fetch(context: &Context, object: &Object) -> Result<Found, Error> {
    let link = context.objects.of_object(&object.reference.uid).await;
    let link = link.map_err(Error::store("to read a link"))?;
    let job = match &link {
        Some(link) => job(context, link.job).await?,
        None => None,
    };
    Ok(Found { link, job })
}

/// One job.
pub(crate) async fn job(context: &Context, id: filejobs_core::JobId) -> Result<Option<Job>, Error> {
    let job = context.backends.store.job(id).await;
    job.map_err(Error::store("to read a job"))
}
