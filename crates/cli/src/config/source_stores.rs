//! Storages that `store` sources may name, as JSON: in the variable itself, or in a file that it names.
//!
//! Read by hand, so that every mistake is told at once, by its place, and without any value: somebody may have written
//! a secret where the name of its place belongs.

use std::collections::BTreeSet;
use std::fmt::Display;

use filejobs_blobs::{Blobs, Credentials, S3Config};
use filejobs_controller::{SourceStore, Stores};
use filejobs_core::Namespace;
use serde_json::{Map, Value};

use super::{Problems, given, storage, web_address};

/// The setting, as problems name it.
const NAME: &str = "FILEJOBS_SOURCE_STORES (--source-stores)";

/// Most storages; more are a mistake.
const MOST: usize = 100;

/// Where variables are looked up.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads them; none when nothing is said.
pub(super) fn read(text: Option<&str>, variables: Variables, problems: &mut Problems) -> Stores {
    let mut stores = Stores::default();
    let Some(all) = text.and_then(|text| objects(text, problems)) else {
        return stores;
    };
    if all.len() > MOST {
        problems.add(NAME, format_args!("at most {MOST} storages are taken"));
        return stores;
    }
    for (name, fields) in all {
        // As the definition of FileJob has it, which is as for namespaces.
        if name.parse::<Namespace>().is_err() {
            problems.add(NAME, "a storage's name is 1 to 63 of a-z, 0-9 and '-'");
            continue;
        }
        let Value::Object(fields) = fields else {
            problems.add(NAME, format_args!("`{name}`: an object is taken"));
            continue;
        };
        let mut entry = Entry {
            store: &name,
            fields,
            variables,
            problems,
        };
        if let Some(store) = entry.read() {
            stores.add(name, store);
        }
    }
    stores
}

/// The storages as they were written.
fn objects(text: &str, problems: &mut Problems) -> Option<Map<String, Value>> {
    let from_file;
    let text = if text.trim_start().starts_with('{') {
        text
    } else {
        match std::fs::read_to_string(text) {
            Ok(content) => from_file = content,
            Err(error) => {
                let todo = "JSON that begins with `{`, or the path of a file with it, is taken";
                problems.add(NAME, format_args!("{todo}; the file: {error}"));
                return None;
            }
        }
        &from_file
    };
    match serde_json::from_str(text) {
        Ok(all) => Some(all),
        Err(error) => {
            // Only the place: what stands there may be secret.
            let (line, column) = (error.line(), error.column());
            let told = "this is no JSON object of storages by name";
            problems.add(
                NAME,
                format_args!("{told}; see line {line}, column {column}"),
            );
            None
        }
    }
}

/// One storage while it is read: what is left over at the end is unknown.
struct Entry<'a> {
    store: &'a str,
    fields: Map<String, Value>,
    variables: Variables<'a>,
    problems: &'a mut Problems,
}

impl Entry<'_> {
    fn read(&mut self) -> Option<SourceStore> {
        let bucket = self.text("bucket");
        let endpoint = self.text("endpoint");
        if endpoint
            .as_deref()
            .is_some_and(|url| web_address(url).is_none())
        {
            self.problem("endpoint", "an http or https address is taken");
        }
        let region = self.text("region");
        let prefix = self.prefix();
        let path_style = self.yes("pathStyle");
        let credentials = self.credentials();
        let namespaces = self.namespaces();
        for unknown in std::mem::take(&mut self.fields).keys() {
            self.problem(unknown, "there is no such field");
        }
        if bucket.is_none() {
            self.problem("bucket", "is needed");
        }
        let defaults = S3Config::new(bucket?);
        let config = S3Config {
            allow_http: endpoint.as_deref().is_some_and(storage::is_plain),
            endpoint,
            region: region.unwrap_or(defaults.region),
            prefix,
            credentials,
            path_style: path_style.unwrap_or(defaults.path_style),
            ..defaults
        };
        match Blobs::s3(&config) {
            Ok(blobs) => Some(SourceStore { blobs, namespaces }),
            Err(error) => {
                self.problem("bucket", error);
                None
            }
        }
    }

    fn problem(&mut self, field: &str, problem: impl Display) {
        let store = self.store;
        self.problems
            .add(NAME, format_args!("`{store}.{field}`: {problem}"));
    }

    /// A text, unless it is blank.
    fn text(&mut self, field: &str) -> Option<String> {
        match self.fields.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => given(Some(&text)).map(str::to_owned),
            Some(_) => {
                self.problem(field, "a text is taken");
                None
            }
        }
    }

    /// What keys are below; empty for all.
    fn prefix(&mut self) -> String {
        let prefix = self.text("prefix").unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        let mut parts = prefix.split('/');
        if !prefix.is_empty() && parts.any(|part| matches!(part, "" | "." | "..")) {
            self.problem("prefix", "no part of it may be empty, `.` or `..`");
            return String::new();
        }
        prefix.to_owned()
    }

    fn yes(&mut self, field: &str) -> Option<bool> {
        match self.fields.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(yes)) => Some(yes),
            Some(_) => {
                self.problem(field, "true or false is taken");
                None
            }
        }
    }

    /// The key pair; what the surroundings give when there is none.
    fn credentials(&mut self) -> Option<Credentials> {
        let fields = ["accessKeyId", "secretAccessKey", "sessionToken"];
        let said = fields.map(|field| self.fields.contains_key(field));
        let [key_id, secret, token] = fields.map(|field| self.secret(field));
        if said[0] != said[1] || (said[2] && !said[0]) {
            self.problem("accessKeyId", "goes together with `secretAccessKey`");
        }
        Some(Credentials {
            key_id: key_id?,
            secret: secret?,
            token,
        })
    }

    /// What lies in the place that the field names.
    fn secret(&mut self, field: &str) -> Option<String> {
        let place = self.fields.remove(field)?;
        let place: Vec<_> = place.as_object().into_iter().flatten().collect();
        let found = match place[..] {
            [(kind, Value::String(variable))] if kind == "env" => {
                (self.variables)(variable).ok_or_else(|| "the variable is not set".to_owned())
            }
            [(kind, Value::String(path))] if kind == "file" => {
                std::fs::read_to_string(path).map_err(|error| format!("the file: {error}"))
            }
            _ => Err("the place of it is taken, not it itself: {\"env\": \"VARIABLE\"} or {\"file\": \"/PATH\"}".to_owned()),
        };
        let found = found.and_then(|text| {
            let text = given(Some(&text)).map(str::to_owned);
            text.ok_or_else(|| "nothing is there".to_owned())
        });
        found.map_err(|problem| self.problem(field, problem)).ok()
    }

    /// Who may read from it; `None` for everybody.
    fn namespaces(&mut self) -> Option<BTreeSet<Namespace>> {
        const TAKEN: &str =
            "the namespaces that may read from it are needed, as a list; [\"*\"] for all";
        let listed = match self.fields.remove("namespaces") {
            Some(Value::Array(listed)) if !listed.is_empty() => listed,
            _ => {
                self.problem("namespaces", TAKEN);
                return Some(BTreeSet::new());
            }
        };
        if listed == ["*"] {
            return None;
        }
        let mut namespaces = BTreeSet::new();
        for one in &listed {
            match one.as_str().and_then(|name| name.parse().ok()) {
                Some(name) => {
                    namespaces.insert(name);
                }
                None => self.problem("namespaces", TAKEN),
            }
        }
        Some(namespaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (String, Vec<String>) {
        let mut problems = Problems::default();
        let variables = |name: &str| (name == "LAKE_SECRET").then(|| "hush-hush".to_owned());
        let stores = read(Some(text), &variables, &mut problems);
        (format!("{stores:?}"), problems.told().to_vec())
    }

    #[test]
    fn storages_are_read_from_the_variable_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let id = folder.path().join("id");
        std::fs::write(&id, "AKIA\n").unwrap();
        let text = serde_json::json!({
            "lake": {
                "bucket": "files", "endpoint": "https://lake.example:9000", "prefix": "in/2026/",
                "accessKeyId": {"file": id}, "secretAccessKey": {"env": "LAKE_SECRET"},
                "namespaces": ["team-a", "team-b"]
            },
            "pond": {"bucket": "open", "region": "eu-central-1", "pathStyle": false, "namespaces": ["*"]}
        });
        let text = text.to_string();
        let path = folder.path().join("stores.json");
        std::fs::write(&path, &text).unwrap();
        for said in [&*text, path.to_str().unwrap()] {
            let (stores, problems) = told(said);
            assert_eq!(problems, [""; 0]);
            assert!(
                stores.contains("lake") && stores.contains("pond"),
                "{stores}"
            );
            assert!(!stores.contains("hush"), "{stores}");
        }
    }

    #[test]
    fn every_mistake_is_told_by_its_place_and_without_a_value() {
        let text = serde_json::json!({
            "Lake": {},
            "text": "hush",
            "lake": {
                "bukket": "hush", "endpoint": "ftp://hush", "pathStyle": "hush", "region": 7,
                "accessKeyId": "hush", "secretAccessKey": {"env": "NO_SUCH"}, "namespaces": []
            },
            "pond": {
                "bucket": "pond", "prefix": "a/../b", "accessKeyId": {"file": "/no/such/file"},
                "namespaces": ["team-a", "*"]
            },
        });
        let (_, problems) = told(&text.to_string());
        let mut problems: Vec<_> = problems
            .iter()
            .map(|problem| problem.strip_prefix(&format!("{NAME}: ")).unwrap())
            .collect();
        problems.sort_unstable();
        let place = "the place of it is taken, not it itself: {\"env\": \"VARIABLE\"} or {\"file\": \"/PATH\"}";
        let namespaces =
            "the namespaces that may read from it are needed, as a list; [\"*\"] for all";
        assert_eq!(
            problems,
            [
                &format!("`lake.accessKeyId`: {place}"),
                "`lake.bucket`: is needed",
                "`lake.bukket`: there is no such field",
                "`lake.endpoint`: an http or https address is taken",
                &format!("`lake.namespaces`: {namespaces}"),
                "`lake.pathStyle`: true or false is taken",
                "`lake.region`: a text is taken",
                "`lake.secretAccessKey`: the variable is not set",
                "`pond.accessKeyId`: goes together with `secretAccessKey`",
                "`pond.accessKeyId`: the file: No such file or directory (os error 2)",
                &format!("`pond.namespaces`: {namespaces}"),
                "`pond.prefix`: no part of it may be empty, `.` or `..`",
                "`text`: an object is taken",
                "a storage's name is 1 to 63 of a-z, 0-9 and '-'",
            ]
        );
        for broken in ["{\"hush\": ", "{\"hush\" 1}", "[\"hush\"]", "/no/such/file"] {
            let (_, problems) = told(broken);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(!problems[0].contains("hush"), "{problems:?}");
        }
    }
}
