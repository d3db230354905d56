//! Which Service of a cluster is the API's.

use serde::Deserialize;

use super::Cluster;
use crate::exit::{Outcome, Stop};

/// As the chart labels it.
const SELECTOR: &str = "app.kubernetes.io/part-of=filejobs,app.kubernetes.io/component=api";

/// A Service and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
struct Services {
    items: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    metadata: Name,
}

/// Reads `NAMESPACE/NAME`.
pub(super) fn parse(text: &str) -> Result<Name, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Name {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        _ => Err("NAMESPACE/NAME is taken, such as `filejobs/filejobs`".to_owned()),
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Cluster {
    /// The Service that is named, else the only one that can be seen.
    pub(super) fn service(&self) -> Outcome<Name> {
        if let Some(named) = &self.service {
            return Ok(named.clone());
        }
        let words = ["get", "services", "--all-namespaces", "--output", "json"];
        let seen = self
            .ask(&[&words[..], &["--selector", SELECTOR]].concat())
            .map_err(|error| {
                error.context("no Service can be looked for; name it with --service")
            })?;
        let seen: Services = serde_json::from_str(&seen)?;
        only(seen.items.into_iter().map(|item| item.metadata).collect())
    }
}

fn only(mut services: Vec<Name>) -> Outcome<Name> {
    match (services.pop(), services.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => Err(Stop::from(anyhow::anyhow!(
            "no Filejobs is installed in this cluster; if it is, name its Service with --service"
        ))),
        (Some(last), others) => {
            let all: Vec<_> = others.iter().chain([&last]).map(Name::to_string).collect();
            let problem = format!(
                "several are installed: {}; name one with --service",
                all.join(", ")
            );
            Err(Stop::usage(&[problem]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_service_is_named_with_its_namespace() {
        let name = parse("team/filejobs").unwrap();
        assert_eq!(name.to_string(), "team/filejobs");
        for wrong in ["filejobs", "/filejobs", "team/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_service_is_taken_and_of_several_one_must_be_named() {
        let one = parse("a/filejobs").unwrap();
        assert_eq!(only(vec![one.clone()]).unwrap(), one);
        assert_eq!(only(Vec::new()).unwrap_err().exit, Exit::Refused);
        let several = only(vec![one, parse("b/filejobs").unwrap()]).unwrap_err();
        assert_eq!(several.exit, Exit::Usage);
        assert!(several.error.to_string().contains("a/filejobs, b/filejobs"));
    }
}
