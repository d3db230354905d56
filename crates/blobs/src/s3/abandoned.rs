//! Uploads in parts that nobody completes or gives up any more: their sender's process has died.
//!
//! `object_store` cannot list them, but it signs any request. So they are listed by plain HTTP requests with signed
//! addresses. Beside this sweep a rule of the bucket's life cycle that aborts incomplete uploads after days does no
//! harm. A storage that lists no uploads below a prefix (`MinIO`) removes them by itself after a day.

use std::time::Duration;

use filejobs_core::{JobId, causes};
use http::Method;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::signer::{SignedUrlOptions, Signer};
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use tokio::time::Instant;

use super::S3;
use crate::error::Error;
use crate::keys::job_of;

/// How long a signed address is good for; the clocks of both sides may differ.
const SIGNED_FOR: Duration = Duration::from_mins(5);

/// Pages of a list that are read in one sweep, a thousand entries each.
const PAGES: usize = 20;

/// The largest page that is taken.
const PAGE_BYTES: usize = 8 << 20;

/// How long calls in vain may take in one sweep: a storage that is out of reach may let each wait for long.
const TROUBLE: Duration = Duration::from_secs(10);

const STEP: &str = "listing unfinished uploads";

/// An upload that is not complete.
#[derive(Debug, Default, PartialEq)]
struct Unfinished {
    key: String,
    id: String,
    /// When it was begun, as the storage writes it.
    begun: String,
}

/// One page of a list.
#[derive(Debug, PartialEq)]
struct Page<T> {
    found: Vec<T>,
    /// Whether another one follows, and what to ask for it with.
    goes_on: bool,
    next: Query,
}

type Query = Vec<(&'static str, String)>;

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            goes_on: false,
            next: Vec::new(),
        }
    }
}

impl<T> Page<T> {
    fn next(self) -> Option<Query> {
        (self.goes_on && !self.next.is_empty()).then_some(self.next)
    }
}

impl S3 {
    /// Gives up uploads that nobody has sent anything of for `idle`. Returns how many. One that fails is left for the
    /// next time and does not hold up the others.
    pub(crate) async fn sweep(&self, idle: Duration) -> Result<u64, Error> {
        let mut removed = 0;
        let mut in_vain = Duration::ZERO;
        let mut next = Some(Vec::new());
        for _ in 0..PAGES {
            let Some(from) = next.take() else { break };
            let page = uploads(&self.page(&Key::default(), "uploads", "", from).await?)?;
            for upload in &page.found {
                let Some(job) = owner(&upload.key, self.prefix.as_ref()) else {
                    continue;
                };
                let begun = Instant::now();
                match self.sweep_one(upload, idle).await {
                    Ok(is_removed) => removed += u64::from(is_removed),
                    Err(error) => {
                        in_vain += begun.elapsed();
                        if in_vain > TROUBLE {
                            return Err(error);
                        }
                        tell(job, &error);
                    }
                }
            }
            next = page.next();
        }
        Ok(removed)
    }

    /// Gives an upload up if it is idle. Returns whether it was.
    async fn sweep_one(&self, upload: &Unfinished, idle: Duration) -> Result<bool, Error> {
        let is_idle = self.is_idle(upload, idle).await?;
        if is_idle {
            self.give_up(upload).await?;
        }
        Ok(is_idle)
    }

    /// Whether both the upload and its latest part are old.
    async fn is_idle(&self, upload: &Unfinished, idle: Duration) -> Result<bool, Error> {
        if !is_old(&upload.begun, idle) {
            return Ok(false);
        }
        let key = Key::parse(&upload.key).map_err(|e| Error::storage(STEP, e))?;
        let mut next = Some(Vec::new());
        for _ in 0..PAGES {
            let Some(from) = next.take() else { break };
            let page = match self.page(&key, "uploadId", &upload.id, from).await {
                // Completed or given up while we look.
                Err(Error::NotFound) => return Ok(false),
                page => parts(&page?)?,
            };
            if page.found.iter().any(|sent| !is_old(sent, idle)) {
                return Ok(false);
            }
            next = page.next();
        }
        Ok(true)
    }

    async fn give_up(&self, upload: &Unfinished) -> Result<(), Error> {
        let key = Key::parse(&upload.key).map_err(|e| Error::storage(STEP, e))?;
        let aborted = self.store.abort_multipart(&key, &upload.id).await;
        match aborted.map_err(|e| Error::object("giving an upload up", e)) {
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn page(&self, key: &Key, what: &str, value: &str, from: Query) -> Result<String, Error> {
        let mut query = vec![(what, value.to_owned())];
        query.extend(from);
        let options = SignedUrlOptions::default().with_query(query);
        let signed = self
            .store
            .signed_url_opts(Method::GET, key, SIGNED_FOR, &options);
        let url = signed.await.map_err(|e| Error::object(STEP, e))?;
        let failed = |e: reqwest::Error| Error::storage(STEP, e.without_url());
        let mut answer = self.http.get(url).send().await.map_err(failed)?;
        if answer.status() == http::StatusCode::NOT_FOUND {
            return Err(Error::NotFound);
        }
        let refused = answer.error_for_status_ref().map(drop).map_err(failed);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > PAGE_BYTES {
                return Err(Error::storage(STEP, "the answer is too large"));
            }
        }
        refused?;
        String::from_utf8(body).map_err(|e| Error::storage(STEP, e))
    }
}

/// The job that an upload below our prefix belongs to. Others may keep things in the bucket, too.
fn owner(key: &str, prefix: &str) -> Option<JobId> {
    if prefix.is_empty() {
        return job_of(key);
    }
    job_of(key.strip_prefix(prefix)?.strip_prefix('/')?)
}

fn tell(job: JobId, error: &Error) {
    let error = causes::chain(error);
    tracing::warn!(job.id = %job, error, "an unfinished upload is left for the next sweep");
}

/// Whether a time that the storage wrote lies `idle` or longer ago. A time that cannot be read is young.
fn is_old(time: &str, idle: Duration) -> bool {
    let Ok(time) = time.parse::<jiff::Timestamp>() else {
        return false;
    };
    // The storage stamped it, so its age is by the machine's clock, not by a passed-in one.
    std::time::SystemTime::from(time)
        .elapsed()
        .is_ok_and(|age| age >= idle)
}

/// Reads an answer to `ListMultipartUploads`.
fn uploads(xml: &str) -> Result<Page<Unfinished>, Error> {
    let mut page = Page::default();
    let mut upload = Unfinished::default();
    each_element(xml, |path, text| match path {
        [_, "Upload", "Key"] => upload.key = text,
        [_, "Upload", "UploadId"] => upload.id = text,
        [_, "Upload", "Initiated"] => upload.begun = text,
        [_, "Upload"] => page.found.push(std::mem::take(&mut upload)),
        [_, "NextKeyMarker"] => page.next.push(("key-marker", text)),
        [_, "NextUploadIdMarker"] => page.next.push(("upload-id-marker", text)),
        [_, "IsTruncated"] => page.goes_on = text == "true",
        _ => {}
    })?;
    Ok(page)
}

/// Reads the times of parts from an answer to `ListParts`.
fn parts(xml: &str) -> Result<Page<String>, Error> {
    let mut page = Page::default();
    each_element(xml, |path, text| match path {
        [_, "Part", "LastModified"] => page.found.push(text),
        [_, "NextPartNumberMarker"] => page.next.push(("part-number-marker", text)),
        [_, "IsTruncated"] => page.goes_on = text == "true",
        _ => {}
    })?;
    Ok(page)
}

/// Tells of each element at its end: the names from the root down to it, and its own text.
fn each_element(xml: &str, mut tell: impl FnMut(&[&str], String)) -> Result<(), Error> {
    let failed = |e: quick_xml::Error| Error::storage(STEP, e);
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(failed)? {
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                text.clear();
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(name) => {
                let character = unescape(&format!("&{};", name.as_ref()))
                    .map_err(|e| Error::storage(STEP, e))?
                    .into_owned();
                text.push_str(&character);
            }
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                tell(&names, std::mem::take(&mut text));
                path.pop();
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_uploads_is_read_whatever_the_order_of_its_elements() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Bucket>b</Bucket><KeyMarker></KeyMarker><IsTruncated>true</IsTruncated>
              <NextKeyMarker>uploads/b &amp; c</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>
              <Upload><Key>uploads/a&#45;b</Key><UploadId>1</UploadId>
                <Initiator><ID>x</ID></Initiator><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>
              <Upload><Initiated>2026-01-02T03:04:06Z</Initiated><UploadId>2</UploadId><Key>uploads/c</Key></Upload>
              <CommonPrefixes><Prefix>x</Prefix></CommonPrefixes>
            </ListMultipartUploadsResult>"#;
        let page = uploads(xml).unwrap();
        let upload = |key: &str, id: &str, begun: &str| Unfinished {
            key: key.to_owned(),
            id: id.to_owned(),
            begun: begun.to_owned(),
        };
        let expected = [
            upload("uploads/a-b", "1", "2026-01-02T03:04:05.000Z"),
            upload("uploads/c", "2", "2026-01-02T03:04:06Z"),
        ];
        assert_eq!(page.found, expected);
        let next = [("key-marker", "uploads/b & c"), ("upload-id-marker", "2")];
        let next = next.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(page.next().unwrap(), next);
    }

    #[test]
    fn the_last_page_has_no_next_one() {
        let xml = "<ListPartsResult><IsTruncated>false</IsTruncated>\
            <NextPartNumberMarker>2</NextPartNumberMarker>\
            <Part><PartNumber>2</PartNumber><LastModified>2026-01-02T03:04:05Z</LastModified></Part>\
            </ListPartsResult>";
        let page = parts(xml).unwrap();
        assert_eq!(page.found, ["2026-01-02T03:04:05Z"]);
        assert_eq!(page.next(), None);
        assert!(uploads("no XML <").is_err());
    }

    #[test]
    fn only_what_lies_below_the_prefix_under_a_key_of_ours_is_ours() {
        let job = filejobs_core::Sources::system().job_id();
        let key = format!("uploads/{job}_a");
        assert_eq!(owner(&key, ""), Some(job));
        assert_eq!(owner(&format!("our/part/{key}"), "our/part"), Some(job));
        for (key, prefix) in [
            (key.clone(), "our"),
            (format!("our/{key}"), ""),
            (format!("our{key}"), "our"),
            (format!("our//{key}"), "our"),
            (format!("ours/{key}"), "our"),
            (format!("our/part/{key}"), "our"),
            ("uploads/holiday_2026.mp4".to_owned(), ""),
            ("uploads.tar".to_owned(), ""),
        ] {
            assert_eq!(owner(&key, prefix), None, "{key} below {prefix}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_is_young() {
        assert!(is_old("2020-01-01T00:00:00Z", Duration::from_hours(1)));
        for young in ["", "yesterday", "2999-01-01T00:00:00Z"] {
            assert!(!is_old(young, Duration::ZERO), "{young}");
        }
    }
}
