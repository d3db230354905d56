//! The settings of services: flag, environment variable, default; all read and checked before anything starts.
//!
//! Values come in as text and are read here, not by the parser of the command line: that one stops at the first that
//! it cannot read, and an operator who corrects a deployment wants to know them all. An empty value is like none, as
//! compose files and charts pass on what is not set.

mod access;
mod cluster;
mod database;
mod lifecycle;
mod limits;
mod processing;
mod quotas;
mod redis;
mod scheduling;
mod secret;
mod source_stores;
mod storage;
mod webhooks;

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use filejobs_scheduler::guard::{Allowed, InvalidAllowed};
use url::Url;

pub(crate) use access::{Access, AuthMode, Door};
pub(crate) use cluster::{ClusterArgs, watched};
pub(crate) use database::{Connections, DatabaseArgs, DatabaseUrl};
pub(crate) use lifecycle::{Lifecycle, LifecycleArgs, OpsArgs};
pub(crate) use limits::LimitArgs;
pub(crate) use processing::{Processing, ProcessingArgs, RetryArgs};
pub(crate) use quotas::QuotaArgs;
pub(crate) use redis::RedisArgs;
pub(crate) use scheduling::{KEEP, RetentionArgs};
pub(crate) use secret::Secret;
pub(crate) use storage::{DataArgs, Place, StorageArgs};
pub(crate) use webhooks::WebhookArgs;

use crate::exit::Stop;

/// What is wrong with the settings, one sentence each. A setting is named by its variable and its flag.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    told: Vec<String>,
    /// The largest upload that is taken, and the largest that can be stored: settings of two groups, which are read in
    /// any order.
    largest_taken: Option<u64>,
    largest_stored: Option<u64>,
}

impl Problems {
    /// Notes one.
    pub(crate) fn add(&mut self, name: &str, problem: impl Display) {
        self.told.push(format!("{name}: {problem}"));
    }

    /// Notes several that say themselves what they are about.
    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = String>) {
        self.told.extend(problems);
    }

    /// A whole number within bounds.
    pub(crate) fn whole(&mut self, name: &str, text: &str, bounds: RangeInclusive<u64>) -> u64 {
        let number = text.trim().parse().ok().filter(|n| bounds.contains(n));
        number.unwrap_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            self.add(name, format_args!("{least} to {most} is taken"));
            *least
        })
    }

    /// A span of time of at least `least`.
    pub(crate) fn time(&mut self, name: &str, text: &str, least: Duration) -> Duration {
        match crate::time::duration(text.trim()) {
            Ok(time) if time >= least => time,
            Ok(_) => {
                let least = crate::terminal::duration(least);
                self.add(name, format_args!("at least {least} is taken"));
                Duration::ZERO
            }
            Err(_) => {
                self.add(name, "a time such as `90s`, `12h` or `30d` is taken");
                Duration::ZERO
            }
        }
    }

    /// Yes or no; no when it is blank.
    pub(crate) fn yes(&mut self, name: &str, text: &str) -> bool {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" | "" => false,
            _ => {
                self.add(name, "`true` or `false` is taken");
                false
            }
        }
    }

    /// Where to listen.
    pub(crate) fn address(&mut self, name: &str, text: &str) -> Option<SocketAddr> {
        self.parsed(
            name,
            text,
            "an address with a port such as `127.0.0.1:8080`",
        )
    }

    /// Anything that reads itself from text, or what is taken instead.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str, text: &str, taken: &str) -> Option<T> {
        let read = text.trim().parse().ok();
        if read.is_none() {
            self.add(name, format_args!("{taken} is taken"));
        }
        read
    }

    /// What is given, or a problem that says that it must be.
    pub(crate) fn required<T>(&mut self, name: &str, given: Option<T>, todo: &str) -> Option<T> {
        if given.is_none() {
            self.add(name, format_args!("is needed; {todo}"));
        }
        given
    }

    /// Uploads of up to so many bytes are taken.
    fn takes(&mut self, bytes: u64) {
        self.largest_taken = Some(bytes);
        self.compare_largest();
    }

    /// Uploads of up to so many bytes can be stored in S3.
    fn stores(&mut self, bytes: u64) {
        self.largest_stored = Some(bytes);
        self.compare_largest();
    }

    fn compare_largest(&mut self) {
        let both = self.largest_taken.zip(self.largest_stored);
        if let Some((_, stored)) = both.filter(|(taken, stored)| taken > stored) {
            let most = stored >> 20;
            self.add(
                limits::MAX_UPLOAD,
                format_args!("1 to {most} is taken with FILEJOBS_S3_BUCKET"),
            );
        }
    }

    /// Ends with all of them, when there are any.
    pub(crate) fn finish(self) -> Result<(), Stop> {
        if self.told.is_empty() {
            Ok(())
        } else {
            Err(Stop::usage(&self.told))
        }
    }

    #[cfg(test)]
    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }
}

/// Private hosts and networks of a list, blank entries left out.
fn allowed(name: &str, list: &[String], problems: &mut Problems) -> Vec<Allowed> {
    let mut allowed = Vec::new();
    for text in list.iter().map(|text| text.trim()) {
        match text.parse() {
            _ if text.is_empty() => {}
            Ok(one) => allowed.push(one),
            Err::<_, InvalidAllowed>(problem) => problems.add(name, problem),
        }
    }
    allowed
}

/// An http or https address with a host.
fn web_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Takes a path that may be blank, as charts and compose files pass on what is not set; by itself the library refuses
/// one.
pub(crate) fn path_or_blank() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The path, unless it is blank.
pub(crate) fn given_path(path: Option<&PathBuf>) -> Option<&Path> {
    path.map(PathBuf::as_path)
        .filter(|path| !path.as_os_str().is_empty())
}

/// The text, unless it is blank.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_cannot_be_used_is_told_with_what_is_taken() {
        let mut problems = Problems::default();
        assert_eq!(problems.whole("A", " 7 ", 1..=9), 7);
        for bad in ["", "0", "10", "x", "-1", "1.5"] {
            problems.whole("A", bad, 1..=9);
        }
        let second = Duration::from_secs(1);
        assert_eq!(problems.time("B", "2m", second), 120 * second);
        problems.time("B", "10ms", second);
        problems.time("B", "soon", second);
        assert!(problems.yes("C", "TRUE") && !problems.yes("C", ""));
        problems.yes("C", "perhaps");
        assert!(problems.address("D", "[::]:80").is_some());
        problems.address("D", "localhost");
        let told = problems.told();
        assert_eq!(told.len(), 10, "{told:?}");
        assert!(told.iter().all(|one| one.contains(" is taken")), "{told:?}");
        assert!(problems.finish().is_err());
    }

    #[test]
    fn what_is_blank_is_not_given() {
        assert_eq!(given(Some(" x ")), Some("x"));
        assert_eq!(given(Some("  ")), None);
        assert_eq!(given(None), None);
    }
}
