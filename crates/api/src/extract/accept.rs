//! Which of the media types on offer a client wants.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::problem::{Code, Problem};

/// JSON.
pub(crate) const JSON: &str = "application/json";
/// CSV.
pub(crate) const CSV: &str = "text/csv";
/// Parquet.
pub(crate) const PARQUET: &str = "application/vnd.apache.parquet";

/// The offer that the client likes best; of equals the first. Without an `Accept` header the first.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    offers: &[&'static str],
) -> Result<&'static str, Problem> {
    let ranges: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .collect();
    let Some(first) = offers.first() else {
        return Err(Problem::internal("nothing is on offer"));
    };
    if ranges.is_empty() {
        return Ok(first);
    }
    let mut best: Option<(&'static str, u16)> = None;
    for offer in offers {
        let quality = quality(&ranges, offer);
        if quality > best.map_or(0, |(_, q)| q) {
            best = Some((offer, quality));
        }
    }
    best.map(|(offer, _)| offer).ok_or_else(|| {
        Problem::new(
            Code::NotAcceptable,
            format!(
                "The `Accept` header allows none of what can be given here: {}. Ask for one of these.",
                offers.join(", ")
            ),
        )
    })
}

/// One media range with its quality in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';');
    let media = parts.next()?.trim().to_ascii_lowercase();
    if media.is_empty() {
        return None;
    }
    let quality = parts
        .find_map(|p| p.trim().strip_prefix("q="))
        .and_then(|q| q.trim().parse::<f32>().ok())
        .filter(|q| (0.0..=1.0).contains(q))
        .map_or(1000, thousandths);
    Some((media, quality))
}

#[expect(
    clippy::cast_sign_loss,
    reason = "the caller has checked that the quality lies between 0 and 1"
)]
fn thousandths(quality: f32) -> u16 {
    (quality * 1000.0).round() as u16
}

/// The quality of the most specific range that covers the offer.
fn quality(ranges: &[(String, u16)], offer: &str) -> u16 {
    let group = offer.split('/').next().unwrap_or_default();
    let of = |wanted: &str| ranges.iter().find(|(m, _)| m == wanted).map(|(_, q)| *q);
    of(offer)
        .or_else(|| of(&format!("{group}/*")))
        .or_else(|| of("*/*"))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_offer_wins_and_nothing_liked_is_told() {
        let offers = [JSON, CSV, PARQUET];
        for (accept, wanted) in [
            ("", Some(JSON)),
            ("*/*", Some(JSON)),
            ("text/csv", Some(CSV)),
            ("TEXT/CSV; header=present", Some(CSV)),
            ("text/*", Some(CSV)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(JSON)),
            ("application/json;q=0.5, text/csv", Some(CSV)),
            ("application/vnd.apache.parquet", Some(PARQUET)),
            ("application/json;q=0, */*;q=0.1", Some(CSV)),
            ("image/png", None),
            ("application/json;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let got = negotiate(&headers, &offers).ok();
            assert_eq!(got, wanted, "{accept}");
        }
    }
}
