//! Which scope each call needs: one table, so that it can be read, tested and described in one place.

use filejobs_core::Scope;
use http::Method;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Who holds a key with this scope.
    Needs(Scope),
}

use Access::{Needs, Open};
use Scope::{Admin, JobsRead, JobsWrite};

/// A method and a path as the router has them.
type Route = (Method, &'static str);

/// Every call that there is.
pub(crate) const TABLE: &[(Route, Access)] = &[
    ((Method::POST, "/api/files/upload"), Needs(JobsWrite)),
    ((Method::GET, "/api/jobs"), Needs(JobsRead)),
    ((Method::GET, "/api/jobs/{id}"), Needs(JobsRead)),
    ((Method::PATCH, "/api/jobs/{id}"), Needs(JobsWrite)),
    ((Method::DELETE, "/api/jobs/{id}"), Needs(JobsWrite)),
    ((Method::GET, "/api/jobs/{id}/errors"), Needs(JobsRead)),
    ((Method::GET, "/api/jobs/{id}/results"), Needs(JobsRead)),
    (
        (Method::GET, "/api/jobs/{id}/rejected.csv"),
        Needs(JobsRead),
    ),
    ((Method::GET, "/api/jobs/{id}/report"), Needs(JobsRead)),
    ((Method::GET, "/api/jobs/{id}/schema"), Needs(JobsRead)),
    ((Method::GET, "/api/jobs/{id}/events"), Needs(JobsRead)),
    ((Method::GET, "/api/jobs/{id}/webhooks"), Needs(JobsRead)),
    (
        (Method::POST, "/api/jobs/{id}/webhooks/resend"),
        Needs(JobsWrite),
    ),
    ((Method::POST, "/api/jobs/{id}/cancel"), Needs(JobsWrite)),
    ((Method::POST, "/api/jobs/{id}/retry"), Needs(JobsWrite)),
    ((Method::POST, "/api/jobs/{id}/suspend"), Needs(JobsWrite)),
    ((Method::POST, "/api/jobs/{id}/resume"), Needs(JobsWrite)),
    // What belongs to no namespace is for those who look after all of them.
    ((Method::GET, "/api/queues/stats"), Needs(Admin)),
    ((Method::GET, "/api/queues/dead-letters"), Needs(Admin)),
    (
        (Method::POST, "/api/queues/dead-letters/{task}/replay"),
        Needs(Admin),
    ),
    ((Method::GET, "/api/workers"), Needs(Admin)),
    ((Method::GET, "/api/health"), Open),
    ((Method::GET, "/api/limits"), Open),
    ((Method::GET, "/api/openapi.json"), Open),
    ((Method::GET, "/api/docs"), Open),
    ((Method::GET, "/api/docs/docs.js"), Open),
    ((Method::GET, "/api/docs/docs.css"), Open),
    ((Method::GET, "/"), Needs(JobsRead)),
    ((Method::GET, "/jobs/{id}"), Needs(JobsRead)),
    ((Method::GET, "/jobs/{id}/results.csv"), Needs(JobsRead)),
    ((Method::GET, "/jobs/{id}/results.parquet"), Needs(JobsRead)),
    ((Method::GET, "/jobs/{id}/errors.csv"), Needs(JobsRead)),
    ((Method::GET, "/assets/{name}"), Open),
    ((Method::GET, "/sign-in"), Open),
    ((Method::POST, "/sign-in"), Open),
    ((Method::POST, "/sign-out"), Open),
];

/// Who may make this call. `HEAD` is `GET` without its body. A call that the table does not know is the most
/// powerful there is: forgetting an entry locks people out, and never in.
pub(crate) fn of(method: &Method, route: &str) -> Access {
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let entry = TABLE
        .iter()
        .find(|((known, path), _)| known == method && *path == route);
    entry.map_or(Needs(Admin), |(_, access)| *access)
}

/// The path of a route as it stands in the table.
pub(crate) fn template(route: &str) -> Option<&'static str> {
    let mut paths = TABLE.iter().map(|((_, path), _)| *path);
    paths.find(|path| *path == route)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every route of the router: what the description lists, and what is not part of it.
    fn routes() -> Vec<(String, String)> {
        let document = crate::document(&filejobs_core::Limits::default());
        let document = serde_json::to_value(document).unwrap();
        let described = document["paths"].as_object().unwrap().iter();
        let described = described.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), path.clone()))
        });
        let others = crate::pages::routes()
            .into_iter()
            .chain(crate::docs::routes())
            .flat_map(|route| {
                let path = route.path.to_owned();
                (route.methods.iter()).map(move |method| (method.to_string(), path.clone()))
            });
        described.chain(others).collect()
    }

    #[test]
    fn every_route_has_an_entry_and_every_entry_a_route() {
        let mut routes = routes();
        let mut table: Vec<_> = TABLE
            .iter()
            .map(|((method, path), _)| (method.to_string(), (*path).to_owned()))
            .collect();
        routes.sort();
        table.sort();
        assert_eq!(table, routes);
    }

    #[test]
    fn what_the_table_does_not_know_is_for_the_most_powerful_only() {
        assert_eq!(of(&Method::PUT, "/api/jobs"), Needs(Admin));
        assert_eq!(of(&Method::GET, "/api/new"), Needs(Admin));
        assert_eq!(of(&Method::HEAD, "/api/jobs"), Needs(JobsRead));
    }
}
