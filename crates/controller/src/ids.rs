//! Ids and names that follow from others, so that whatever was cut off is done again under the same.

use filejobs_core::JobId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest as _, Sha256};

/// Characters of an object's name, as for a DNS label: pods and services that people derive from it fit.
const NAME: usize = 63;

/// Characters of a job's id that end its object's name: the random ones.
const TAIL: usize = 12;

/// The id of the job of an object: a `UUIDv7` whose time is the object's creation and whose rest follows from its uid.
pub(crate) fn of_object(metadata: &ObjectMeta) -> JobId {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let digest = Sha256::digest(uid.as_bytes());
    let mut tail = [0; 10];
    tail.copy_from_slice(&digest[..10]);
    let created = metadata.creation_timestamp.as_ref();
    let millis = created.map_or(0, |time| time.0.as_millisecond());
    let millis = u64::try_from(millis).unwrap_or(0);
    JobId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid())
}

/// The name of the object of a job that was handed in by HTTP: the file's stem and the end of the job's id.
pub(crate) fn object_name(filename: &str, job: JobId) -> String {
    let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
    let mut name = String::new();
    for c in stem.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(NAME - TAIL - 1);
    let name = name.trim_end_matches('-');
    let job = job.to_string();
    let tail = &job[job.len() - TAIL..];
    if name.is_empty() {
        return format!("file-{tail}");
    }
    format!("{name}-{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn object(uid: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            creation_timestamp: Some(Time("2026-01-01T00:00:00Z".parse().unwrap())),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_has_one_job_and_another_object_another() {
        let id = of_object(&object("a"));
        assert_eq!(id, of_object(&object("a")));
        assert_ne!(id, of_object(&object("b")));
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert!(id.to_string().starts_with("019b76da-a800-7"), "{id}");
    }

    #[test]
    fn a_name_is_a_dns_label_whatever_the_file_is_called() {
        let job: JobId = "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b".parse().unwrap();
        for (file, name) in [
            ("orders.csv", "orders-2f6e8a4d5c6b"),
            ("Q3 Umsätze (final).xlsx", "q3-ums-tze-final-2f6e8a4d5c6b"),
            ("注文.csv", "file-2f6e8a4d5c6b"),
            (".csv", "file-2f6e8a4d5c6b"),
            ("--x--.csv", "x-2f6e8a4d5c6b"),
        ] {
            assert_eq!(object_name(file, job), name);
        }
        let long = object_name(&"a-".repeat(100), job);
        assert!(
            long.len() <= NAME && long.ends_with("a-2f6e8a4d5c6b"),
            "{long}"
        );
    }
}
