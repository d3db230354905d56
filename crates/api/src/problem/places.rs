//! Where a request was wrong, for the log: in names of ours only, since what clients make up is their data.

use super::{FieldError, Place};

/// The parts of forms and the members of bodies that have a meaning. Parameters and headers are always named by us.
const FIELDS: [&str; 6] = [
    "file",
    "namespace",
    "options",
    "priority",
    "schema",
    "webhook_url",
];
/// A schema can be wrong in very many places; these are enough to see what it is about.
const MOST: usize = 8;

/// The places of errors in one line, such as `form:schema/fields/2 form:priority`.
pub(super) fn line(errors: &[FieldError]) -> String {
    let mut places: Vec<_> = errors.iter().map(place).collect();
    places.dedup();
    places.truncate(MOST);
    places.join(" ")
}

fn place(error: &FieldError) -> String {
    let (place, is_ours) = match error.place {
        Place::Query => ("query", true),
        Place::Header => ("header", true),
        Place::Form => ("form", FIELDS.contains(&error.name.as_str())),
        Place::Body => ("body", FIELDS.contains(&error.name.as_str())),
    };
    if !is_ours {
        return format!("{place}:?");
    }
    let pointer = error.pointer.as_deref().unwrap_or_default();
    let inside = match error.name.as_str() {
        "options" => pointer,
        _ => without_key(pointer),
    };
    format!("{place}:{}{inside}", error.name)
}

/// A pointer without the key that it ends in, which a client may have made up; all steps before it are ours.
fn without_key(pointer: &str) -> &str {
    match pointer.rsplit_once('/') {
        Some((above, last)) if last.parse::<u32>().is_err() => above,
        _ => pointer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_is_ours_and_nothing_that_a_client_made_up() {
        let form = |name: &str| FieldError::new(Place::Form, name, "is secret");
        let errors = [
            FieldError::new(Place::Query, "page", "is secret"),
            FieldError::new(Place::Header, "Idempotency-Key", "is secret"),
            form("secret"),
            form("schema").at("/fields/2"),
            form("schema").at("/fields/2/constraints/secret"),
            form("schema").at("/secret"),
            form("options").at("/delimiter"),
            FieldError::new(Place::Body, "secret", "is secret").at("/secret"),
            FieldError::new(Place::Body, "priority", "is beyond the most").at("/priority"),
        ];
        assert_eq!(
            line(&errors),
            "query:page header:Idempotency-Key form:? form:schema/fields/2 \
             form:schema/fields/2/constraints form:schema form:options/delimiter body:?"
        );
    }

    #[test]
    fn a_place_that_is_wrong_in_many_ways_is_named_once() {
        let error = FieldError::new(Place::Form, "schema", "is wrong").at("/fields/0/name");
        let many: Vec<_> = std::iter::repeat_n(error, 20).collect();
        assert_eq!(line(&many), "form:schema/fields/0");
        assert_eq!(line(&[]), "");
    }
}
