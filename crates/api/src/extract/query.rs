//! Query parameters: every problem is told at once, each with the parameter's name.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::problem::{Code, FieldError, Place, Problem};

/// The query parameters of a request, taken one by one; [`Query::finish`] tells what was wrong with them.
/// Parameters that nobody takes are ignored.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _state: &S,
    ) -> Result<Self, std::convert::Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        Self {
            pairs: pairs.into_owned().collect(),
            errors: Vec::new(),
        }
    }

    /// Takes a parameter. `read` answers with what would be taken when the text cannot be used; that, too, is when
    /// the parameter stands there twice.
    pub(crate) fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let mut values = self.pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v);
        let value = values.next()?;
        let read = if values.next().is_some() {
            Err("stands there more than once; give it once".to_owned())
        } else {
            read(value)
        };
        match read {
            Ok(value) => Some(value),
            Err(detail) => {
                self.errors
                    .push(FieldError::new(Place::Query, name, detail));
                None
            }
        }
    }

    /// Takes a whole number within bounds.
    pub(crate) fn number(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        self.take(name, |text| {
            let number = text
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten();
            number
                .filter(|n| (min..=max).contains(n))
                .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
        })
    }

    /// Takes one of a closed set of words.
    pub(crate) fn word<T: std::str::FromStr>(
        &mut self,
        name: &str,
        words: impl FnOnce() -> String,
    ) -> Option<T> {
        self.take(name, |text| {
            text.parse()
                .map_err(|_| format!("must be one of {}", words()))
        })
    }

    /// Tells what was wrong.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else {
            return Ok(());
        };
        let detail = if self.errors.len() == 1 {
            format!(
                "The query parameter `{}` cannot be used: it {}.",
                first.name, first.detail
            )
        } else {
            let names: Vec<_> = self
                .errors
                .iter()
                .map(|e| format!("`{}`", e.name))
                .collect();
            format!(
                "The query parameters {} cannot be used; `errors` says what each takes.",
                names.join(", ")
            )
        };
        Err(Problem::fields(Code::InvalidParameter, detail, self.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_within_their_bounds() {
        for (text, wanted) in [
            ("n=1", Some(1)),
            ("n=500", Some(500)),
            ("n=0500", Some(500)),
            ("n=0", None),
            ("n=501", None),
            ("n=", None),
            ("n=%2B1", None),
            ("n=-1", None),
            ("n=1.5", None),
            ("n=99999999999999999999999", None),
            ("n=1&n=1", None),
            ("", None),
        ] {
            let mut query = Query::parse(text);
            assert_eq!(query.number("n", 1, 500), wanted, "{text}");
            assert_eq!(query.finish().is_ok(), wanted.is_some() || text.is_empty());
        }
    }

    #[test]
    fn every_problem_is_told_with_the_name_of_its_parameter() {
        let mut query = Query::parse("page=0&page_size=x&other=1");
        query.number("page", 1, 9);
        query.number("page_size", 1, 500);
        let problem = query.finish().unwrap_err();
        let names: Vec<_> = problem.errors().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["page", "page_size"]);
    }
}
