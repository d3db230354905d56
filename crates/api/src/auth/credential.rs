//! Where a request carries its key.

use filejobs_core::ApiKey;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::{HeaderMap, Method};

use crate::problem::{Code, Problem};

/// The header for a key alone.
const API_KEY: &str = "x-api-key";
/// The cookie that a browser keeps its key in.
pub(crate) const SESSION: &str = "filejobs_key";

/// A key as a request carries it.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) key: ApiKey,
    /// A browser sent it by itself: the person may not have meant to make this very request.
    pub(crate) session: bool,
}

/// The key that a request carries: `X-API-KEY` before `Authorization: Bearer` before the pages' cookie. `None` when it
/// carries none.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Presented>, Problem> {
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let given = header(API_KEY).or_else(|| header(AUTHORIZATION.as_str()).map(bearer));
    if let Some(text) = given {
        let key = text.trim().parse().map_err(|_| unreadable())?;
        return Ok(Some(Presented {
            key,
            session: false,
        }));
    }
    // A cookie that holds no key is one of another program on the same host.
    let key = cookie(headers).and_then(|text| text.parse().ok());
    Ok(key.map(|key| Presented { key, session: true }))
}

/// What stands behind `Bearer`; nothing for another scheme.
fn bearer(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
        _ => "",
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(SESSION)?.strip_prefix('='))
}

fn unreadable() -> Problem {
    super::gate::unauthenticated(
        Code::InvalidKey,
        "What was sent is not an API key. Send the whole key, which begins with `fj_`, as `X-API-KEY: fj_…` or `Authorization: Bearer fj_…`.",
    )
}

/// Whether a browser may have been made to send its cookie by a page that is not ours. `SameSite=Strict` keeps other
/// sites out; this keeps out the other hosts of the same one.
pub(crate) fn is_forged(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        return false;
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_none() || host != text(HOST.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "fj_reader01_0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fj_writer01_0123456789abcdef0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    value.parse::<http::HeaderValue>().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn a_key_is_found_wherever_it_may_stand() {
        let session = format!("theme=dark; filejobs_key={KEY}; x=y");
        for (given, session) in [
            (vec![("x-api-key", KEY.to_owned())], false),
            (vec![("authorization", format!("Bearer {KEY}"))], false),
            (vec![("authorization", format!("bearer  {KEY} "))], false),
            (vec![("cookie", session)], true),
            (
                vec![
                    ("cookie", format!("filejobs_key={OTHER}")),
                    ("authorization", format!("Bearer {KEY}")),
                ],
                false,
            ),
            (
                vec![
                    ("authorization", format!("Bearer {OTHER}")),
                    ("x-api-key", KEY.to_owned()),
                ],
                false,
            ),
        ] {
            let given: Vec<_> = given.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let found = of(&headers(&given)).unwrap().unwrap();
            assert_eq!((found.key.reveal(), found.session), (KEY, session));
        }
    }

    #[test]
    fn none_is_not_the_same_as_one_that_cannot_be_read() {
        for none in [
            vec![],
            vec![("cookie", "theme=dark")],
            vec![("cookie", "filejobs_key=gone")],
            vec![("cookie", "not_filejobs_key=1")],
        ] {
            assert!(of(&headers(&none)).unwrap().is_none(), "{none:?}");
        }
        for bad in [
            ("x-api-key", ""),
            ("x-api-key", "secret"),
            ("authorization", "Basic dXNlcjpwYXNz"),
            ("authorization", KEY),
            ("authorization", "Bearer"),
        ] {
            let problem = of(&headers(&[bad])).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidKey, "{bad:?}");
        }
    }

    #[test]
    fn a_cookie_changes_nothing_for_a_page_of_another_origin() {
        for (method, given, forged) in [
            (Method::GET, vec![("sec-fetch-site", "same-site")], false),
            (Method::POST, vec![("sec-fetch-site", "same-origin")], false),
            (Method::POST, vec![("sec-fetch-site", "none")], false),
            (Method::POST, vec![("sec-fetch-site", "same-site")], true),
            (Method::DELETE, vec![("sec-fetch-site", "cross-site")], true),
            (Method::POST, vec![], false),
            (
                Method::POST,
                vec![
                    ("host", "jobs.example:8080"),
                    ("origin", "http://jobs.example:8080"),
                ],
                false,
            ),
            (
                Method::POST,
                vec![
                    ("host", "jobs.example:8080"),
                    ("origin", "http://evil.example"),
                ],
                true,
            ),
            (Method::POST, vec![("host", "a"), ("origin", "null")], true),
        ] {
            assert_eq!(
                is_forged(&method, &headers(&given)),
                forged,
                "{method} {given:?}"
            );
        }
    }
}
