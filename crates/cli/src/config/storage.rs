//! Where files and results lie.

use std::path::{Path, PathBuf};

use clap::Args;
use filejobs_blobs::{Credentials, S3_LARGEST, S3Config};

use super::{Problems, Secret, given, given_path, path_or_blank, web_address};

/// The folder of a service that is one process.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct DataArgs {
    /// Folder for database, files and results; created when absent
    #[arg(
        long,
        alias = "data",
        env = "FILEJOBS_DATA_DIR",
        default_value = "filejobs-data",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,
}

impl DataArgs {
    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("filejobs.db")
    }

    /// What engines write before it is stored.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.data_dir.join("scratch")
    }

    /// Notes what is wrong with it.
    pub(crate) fn check(&self, problems: &mut Problems) {
        folder("FILEJOBS_DATA_DIR (--data-dir)", &self.data_dir, problems);
    }
}

/// Where files and results lie.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct StorageArgs {
    /// Folder for uploads and results; every process must see the same one [`dev`: `files` in the data folder]
    #[arg(long, env = "UPLOAD_DIR", value_name = "DIR", value_parser = path_or_blank())]
    upload_dir: Option<PathBuf>,

    /// Take a folder that holds nothing for the storage although the database knows of jobs: their files are lost, or
    /// lie elsewhere
    #[arg(long, env = "FILEJOBS_NEW_FOLDER", value_name = "true|false", num_args = 0..=1,
          default_value = "false", default_missing_value = "true")]
    new_folder: String,

    /// Bucket of an S3-compatible storage, which must exist: for uploads and results instead of a folder
    #[arg(long, env = "FILEJOBS_S3_BUCKET", value_name = "NAME")]
    s3_bucket: Option<String>,

    /// The storage's address, such as `https://storage.example:9000` [default: that of Amazon's region]
    #[arg(long, env = "FILEJOBS_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,

    /// The storage's region
    #[arg(
        long,
        env = "FILEJOBS_S3_REGION",
        default_value = "us-east-1",
        value_name = "NAME"
    )]
    s3_region: String,

    /// Put before every key, so that a bucket can be shared
    #[arg(long, env = "FILEJOBS_S3_PREFIX", value_name = "PREFIX")]
    s3_prefix: Option<String>,

    /// Whether the bucket is part of the path, as most storages but Amazon's want it, or of the host's name
    #[arg(
        long,
        env = "FILEJOBS_S3_PATH_STYLE",
        default_value = "true",
        value_name = "true|false"
    )]
    s3_path_style: String,

    /// Id of the access key [default: what the machine's surroundings give: a role of the pod or of the machine]
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID")]
    s3_key_id: Option<String>,

    /// The access key's secret
    #[arg(
        long,
        env = "AWS_SECRET_ACCESS_KEY",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    s3_secret: Option<Secret>,

    /// The session's token, for access keys that run out
    #[arg(
        long,
        env = "AWS_SESSION_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    s3_token: Option<Secret>,

    /// Folder where parts of uploads wait for their transfer, a few MiB for each upload under way [default: the
    /// system's folder for temporary files]
    #[arg(long, env = "FILEJOBS_S3_SPOOL_DIR", value_name = "DIR", value_parser = path_or_blank())]
    s3_spool_dir: Option<PathBuf>,
}

/// A kind of storage.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A folder.
    Folder {
        /// Where it is.
        path: PathBuf,
        /// Whether it is taken even when it holds nothing and there are jobs.
        may_be_new: bool,
    },
    /// A bucket.
    S3(Box<S3Config>),
}

const UPLOAD_DIR: &str = "UPLOAD_DIR (--upload-dir)";

impl StorageArgs {
    /// Where they lie; in `usual` when nothing is said.
    pub(crate) fn read(&self, usual: Option<PathBuf>, problems: &mut Problems) -> Option<Place> {
        if let Some(bucket) = given(self.s3_bucket.as_deref()) {
            return Some(Place::S3(Box::new(self.s3(bucket, problems))));
        }
        let named = self.upload_dir.as_deref().and_then(Path::to_str);
        let named = given(named).map(PathBuf::from);
        let path = named.or(usual);
        let path = problems.required(
            UPLOAD_DIR,
            path,
            "a folder that every process sees, unless FILEJOBS_S3_BUCKET is set",
        )?;
        folder(UPLOAD_DIR, &path, problems);
        Some(Place::Folder {
            path,
            may_be_new: problems.yes("FILEJOBS_NEW_FOLDER (--new-folder)", &self.new_folder),
        })
    }

    fn s3(&self, bucket: &str, problems: &mut Problems) -> S3Config {
        const ENDPOINT: &str = "FILEJOBS_S3_ENDPOINT (--s3-endpoint)";
        const KEYS: &str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (--s3-key-id, --s3-secret)";
        const PATH_STYLE: &str = "FILEJOBS_S3_PATH_STYLE (--s3-path-style)";
        problems.stores(S3_LARGEST);
        let text =
            |secret: &Option<Secret>| given(secret.as_ref().map(Secret::reveal)).map(str::to_owned);
        let endpoint = given(self.s3_endpoint.as_deref());
        if endpoint.is_some_and(|url| web_address(url).is_none()) {
            problems.add(ENDPOINT, "an http or https address is taken");
        }
        let key_id = given(self.s3_key_id.as_deref()).map(str::to_owned);
        let credentials = match (key_id, text(&self.s3_secret)) {
            (Some(key_id), Some(secret)) => Some(Credentials {
                key_id,
                secret,
                token: text(&self.s3_token),
            }),
            (None, None) => None,
            _ => {
                problems.add(KEYS, "both or none are taken");
                None
            }
        };
        let defaults = S3Config::new(bucket);
        S3Config {
            endpoint: endpoint.map(str::to_owned),
            region: given(Some(&self.s3_region)).map_or(defaults.region, str::to_owned),
            prefix: given(self.s3_prefix.as_deref())
                .unwrap_or_default()
                .to_owned(),
            credentials,
            path_style: given(Some(&self.s3_path_style))
                .map_or(defaults.path_style, |text| problems.yes(PATH_STYLE, text)),
            allow_http: endpoint.is_some_and(is_plain),
            spool: self.spool(defaults.spool, problems),
            ..defaults
        }
    }

    /// The folder of parts that wait; `usual` when none is named.
    fn spool(&self, usual: PathBuf, problems: &mut Problems) -> PathBuf {
        const SPOOL: &str = "FILEJOBS_S3_SPOOL_DIR (--s3-spool-dir)";
        let named = given_path(self.s3_spool_dir.as_ref());
        let path = named.map_or(usual, Path::to_owned);
        if let Err(error) = try_out(&path) {
            let told = path.display();
            problems.add(
                SPOOL,
                format_args!("a folder that can be written to is taken; {told}: {error}"),
            );
        }
        path
    }
}

/// Makes a folder when it is absent, and a file in it that is gone at once.
fn try_out(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    tempfile::tempfile_in(folder).map(drop)
}

/// Whether an address is one without TLS. Who writes it means it: a storage within the cluster.
pub(super) fn is_plain(url: &str) -> bool {
    url.starts_with("http://")
}

fn folder(name: &str, path: &Path, problems: &mut Problems) {
    if path.as_os_str().is_empty() || path.is_file() {
        problems.add(name, "a folder is taken");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::LimitArgs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        storage: StorageArgs,

        #[command(flatten)]
        limits: LimitArgs,
    }

    /// What a bucket with further arguments makes, and the problems that are told.
    fn bucket(arguments: &[&str]) -> (S3Config, Vec<String>) {
        let line = ["x", "--s3-bucket", "files"].iter().chain(arguments);
        let mut problems = Problems::default();
        let place = Line::parse_from(line).storage.read(None, &mut problems);
        let Some(Place::S3(config)) = place else {
            unreachable!("a bucket is named")
        };
        (*config, problems.told().to_vec())
    }

    #[test]
    fn what_is_blank_is_as_if_it_were_not_given() {
        let blank = [
            "--s3-region= ",
            "--s3-path-style=",
            "--s3-prefix=",
            "--s3-spool-dir=",
            "--upload-dir=",
        ];
        for arguments in [&blank[..], &[]] {
            let (config, told) = bucket(arguments);
            let defaults = S3Config::new("files");
            assert_eq!(config.region, defaults.region);
            assert_eq!(config.path_style, defaults.path_style);
            assert_eq!(config.spool, defaults.spool);
            assert_eq!(told, [""; 0]);
        }
        let (config, _) = bucket(&["--s3-region", " north ", "--s3-path-style", "no"]);
        assert_eq!((&*config.region, config.path_style), ("north", false));
    }

    #[test]
    fn a_blank_folder_is_the_usual_one() {
        for (arguments, wanted) in [
            (&["--upload-dir="][..], "usual"),
            (&["--upload-dir=files", "--new-folder="], "files"),
        ] {
            let mut problems = Problems::default();
            let line = Line::parse_from(["x"].iter().chain(arguments));
            let place = line.storage.read(Some("usual".into()), &mut problems);
            let Some(Place::Folder { path, may_be_new }) = place else {
                unreachable!("no bucket is named")
            };
            assert_eq!((path.as_path(), may_be_new), (Path::new(wanted), false));
            assert_eq!(problems.told(), [""; 0]);
        }
    }

    #[test]
    fn the_folder_of_parts_is_made_and_tried_before_anything_starts() {
        let home = tempfile::tempdir().unwrap();
        let absent = home.path().join("new/spool");
        let (config, told) = bucket(&["--s3-spool-dir", absent.to_str().unwrap()]);
        assert_eq!((config.spool, told), (absent.clone(), Vec::new()));
        assert_eq!(std::fs::read_dir(absent).unwrap().count(), 0);

        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        for unusable in [file.clone(), file.join("below")] {
            let (_, told) = bucket(&["--s3-spool-dir", unusable.to_str().unwrap()]);
            let [told] = &told[..] else {
                unreachable!("one problem is told of {}", unusable.display())
            };
            assert!(told.starts_with("FILEJOBS_S3_SPOOL_DIR"), "{told}");
        }
    }

    #[test]
    fn no_larger_file_is_taken_than_the_storage_can_hold() {
        let most = S3_LARGEST >> 20;
        for (mib, storage, is_fine) in [
            (most, ["--s3-bucket", "files"], true),
            (most + 1, ["--s3-bucket", "files"], false),
            (most + 1, ["--upload-dir", "files"], true),
        ] {
            let size = format!("--max-upload-mb={mib}");
            let line = Line::parse_from(["x", size.as_str()].iter().chain(&storage));
            for is_storage_first in [false, true] {
                let mut problems = Problems::default();
                if is_storage_first {
                    line.storage.read(None, &mut problems);
                    line.limits.read(&mut problems);
                } else {
                    line.limits.read(&mut problems);
                    line.storage.read(None, &mut problems);
                }
                let told = problems.told();
                assert_eq!(told.is_empty(), is_fine, "{mib}: {told:?}");
                let names = told.iter().all(|one| one.starts_with("MAX_UPLOAD_MB"));
                assert!(names, "{told:?}");
            }
        }
    }
}
