//! A key of a ConfigMap in the object's own namespace.

use bytes::Bytes;
use filejobs_crd::{ConfigMapSource, Reason};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::{Failure, Incoming};
use crate::context::Context;
use crate::error::{Error, is_forbidden};

/// Reads it: the API server takes none above a mebibyte.
pub(super) async fn open(
    context: &Context,
    namespace: &str,
    from: &ConfigMapSource,
) -> Result<Incoming, Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(context.backends.client.clone(), namespace);
    let found = maps.get_opt(&from.name).await;
    let found = found.map_err(|error| {
        if is_forbidden(&error) {
            let told =
                "The controller may not read ConfigMaps of this namespace; its Role needs `get`.";
            return Failure::later(Reason::SourceRefused, told);
        }
        Failure::Ours(Error::cluster("to read a ConfigMap")(error))
    })?;
    let (name, key) = (&from.name, &from.key);
    let absent = |what: String| Failure::later(Reason::SourceNotFound, what);
    let mut map = found.ok_or_else(|| {
        absent(format!(
            "There is no ConfigMap `{name}` in this namespace; create it."
        ))
    })?;
    let binary = map.binary_data.as_mut().and_then(|data| data.remove(key));
    let text = map.data.as_mut().and_then(|data| data.remove(key));
    let bytes = match (binary, text) {
        (Some(binary), _) => Bytes::from(binary.0),
        (None, Some(text)) => Bytes::from(text),
        (None, None) => {
            return Err(absent(format!(
                "The ConfigMap `{name}` has no key `{key}`; add it."
            )));
        }
    };
    Ok(Incoming {
        name: key.clone(),
        bytes: futures::stream::iter([Ok(bytes)]).boxed(),
    })
}
