//! `keys`: who may call. Talks to the database itself, since a service without a single key lets nobody in.

mod list;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use filejobs_core::{ApiKey, Grant, KeyName, KeyPrefix, Namespace, Scope, Sources};
use filejobs_store::{NewApiKey, Store, StoredApiKey};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::{Connections, DatabaseArgs, DatabaseUrl, Problems};
use crate::exit::{Exit, Outcome, Stop};
use crate::services::backends;
use crate::services::waiting::Patience;
use crate::terminal;

/// How often a prefix that is taken is drawn anew: twice in a row is a defect, not chance.
const DRAWS: u32 = 3;

/// What a command needs of the database.
const CONNECTIONS: Connections = Connections { most: 2, kept: 0 };

/// How long the database is waited for: a person does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Make, list and revoke API keys
#[derive(Debug, Clone, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),

    /// Print a new key without writing it down anywhere: for `FILEJOBS_BOOTSTRAP_KEY`
    Generate,
}

/// Which database.
#[derive(Debug, Clone, Args)]
struct Place {
    #[command(flatten)]
    database: DatabaseArgs,

    /// Folder of `filejobs dev`, when no database is named
    #[arg(
        long,
        alias = "data",
        env = "FILEJOBS_DATA_DIR",
        default_value = "filejobs-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
}

/// Make a key and print it: this once, and never again
#[derive(Debug, Clone, Args)]
struct Create {
    /// What it is for, or whose it is
    #[arg(long, value_name = "NAME")]
    name: KeyName,

    /// What it allows: `jobs:read`, `jobs:write`, or `admin` for everything
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "jobs:read,jobs:write",
        value_name = "SCOPE"
    )]
    scope: Vec<Scope>,

    /// The namespace whose jobs exist for it; not for `admin` [default: `default`]
    #[arg(long, value_name = "NAME")]
    namespace: Option<Namespace>,

    /// How long it lives, such as `90d` or `12h`; for ever when absent
    #[arg(long, value_name = "TIME", value_parser = crate::time::duration)]
    expires_in: Option<Duration>,

    /// Print key and facts as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

/// List the keys that there are and were
#[derive(Debug, Clone, Args)]
struct List {
    /// Print them as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

/// End a key for good
#[derive(Debug, Clone, Args)]
struct Revoke {
    /// The key's prefix, as `filejobs keys list` shows it; the `fj_` before it may be there or not
    #[arg(value_name = "PREFIX")]
    prefix: String,

    #[command(flatten)]
    place: Place,
}

impl Place {
    async fn open(&self, sources: &Sources) -> Outcome<Arc<dyn Store>> {
        let mut problems = Problems::default();
        let server = self.database.server(CONNECTIONS, &mut problems);
        problems.finish()?;
        let database = if let Some(server) = server {
            server
        } else {
            let folder = &self.data_dir;
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            DatabaseUrl::Sqlite(folder.join("filejobs.db"))
        };
        let patience = Patience::new(PATIENCE, CancellationToken::new());
        let store = backends::open(&database, sources, &patience).await?;
        Ok(store.context("the database was not waited for")?)
    }
}

impl Keys {
    pub(crate) async fn run(&self) -> Outcome {
        let sources = Sources::system();
        match &self.command {
            Command::Create(create) => create.run(&sources).await,
            Command::List(list) => {
                let store = list.place.open(&sources).await?;
                list::print(&store.api_keys().await?, sources.now(), list.json)?;
                Ok(Exit::Clean)
            }
            Command::Revoke(revoke) => revoke.run(&sources).await,
            Command::Generate => {
                terminal::line(ApiKey::generate(&*sources.randomness).reveal())?;
                Ok(Exit::Clean)
            }
        }
    }
}

impl Create {
    async fn run(&self, sources: &Sources) -> Outcome {
        let admin = self.scope.contains(&Scope::Admin);
        let namespace = match &self.namespace {
            None if !admin => Some(Namespace::default()),
            given => given.clone(),
        };
        let grant = Grant::new(&self.scope, namespace)
            .map_err(|problem| Stop::usage(&[problem.to_string()]))?;
        let store = self.place.open(sources).await?;
        let lives = self.expires_in;
        let (key, stored) = create(&*store, sources, self.name.clone(), grant, lives).await?;
        if self.json {
            let mut shown = list::describe(&stored, sources.now());
            shown["key"] = key.reveal().into();
            terminal::json(&shown)?;
        } else {
            // Only the key on standard output: `KEY=$(filejobs keys create …)`.
            terminal::line(key.reveal())?;
            terminal::note(list::sentence(&stored));
            terminal::note(
                "This key is shown only now. Send it as `X-API-KEY` or `Authorization: Bearer`.",
            );
        }
        Ok(Exit::Clean)
    }
}

impl Revoke {
    async fn run(&self, sources: &Sources) -> Outcome {
        // Whoever has only the key itself may give that.
        let whole = self
            .prefix
            .parse::<ApiKey>()
            .map(|key| key.prefix().clone());
        let prefix = whole.or_else(|_| self.prefix.parse::<KeyPrefix>());
        let unknown = || {
            let problem = "no key has this prefix; `filejobs keys list` shows them".to_owned();
            Stop::usage(&[problem])
        };
        let prefix = prefix.map_err(|_| unknown())?;
        let store = self.place.open(sources).await?;
        match store.revoke_api_key(&prefix).await {
            Ok(stored) => {
                terminal::line(list::sentence(&stored))?;
                Ok(Exit::Clean)
            }
            Err(filejobs_store::Error::NotFound) => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes a key and writes it down.
pub(crate) async fn create(
    store: &dyn Store,
    sources: &Sources,
    name: KeyName,
    grant: Grant,
    lives: Option<Duration>,
) -> anyhow::Result<(ApiKey, StoredApiKey)> {
    let expires_at = lives.map(|time| sources.now().checked_add(time).unwrap_or(Timestamp::MAX));
    for _ in 0..DRAWS {
        let key = ApiKey::generate(&*sources.randomness);
        let new = NewApiKey {
            prefix: key.prefix().clone(),
            hash: key.hash(),
            name: name.clone(),
            grant: grant.clone(),
            expires_at,
        };
        if let Some(stored) = store.create_api_key(new).await? {
            return Ok((key, stored));
        }
    }
    bail!("no free prefix was found for the key; try again")
}

/// Makes sure that a key is there, with every right: the one that an operator hands to a service before it has any.
/// One that is there already stays as it is, and what it lacks is told.
pub(crate) async fn bootstrap(store: &dyn Store, key: &ApiKey) -> anyhow::Result<()> {
    let new = NewApiKey {
        prefix: key.prefix().clone(),
        hash: key.hash(),
        name: "bootstrap".parse()?,
        grant: Grant::admin(),
        expires_at: None,
    };
    let prefix = key.prefix();
    if store.create_api_key(new).await?.is_some() {
        tracing::info!(key.prefix = %prefix, "the first key is written down");
        return Ok(());
    }
    let Some(known) = store.api_key(prefix).await? else {
        return Ok(());
    };
    if known.hash != key.hash() {
        bail!(
            "another API key has the prefix `{prefix}` of FILEJOBS_BOOTSTRAP_KEY; `filejobs keys generate` makes one that is free"
        );
    }
    if let Some(lack) = lack(&known) {
        tracing::warn!(
            key.prefix = %prefix,
            "the key of FILEJOBS_BOOTSTRAP_KEY {lack}, and stays so; hand in another one, which `filejobs keys generate` makes"
        );
    }
    Ok(())
}

/// What keeps a key from allowing everything for ever.
fn lack(key: &StoredApiKey) -> Option<String> {
    if key.revoked_at.is_some() {
        return Some("was revoked".to_owned());
    }
    let mut lacks = Vec::new();
    if !key.grant.allows(Scope::Admin) {
        let scopes = key.grant.scopes_text();
        lacks.push(format!("is there already and allows only {scopes}"));
    }
    if let Some(end) = key.expires_at {
        lacks.push(format!("is refused from {end:.0} on"));
    }
    (!lacks.is_empty()).then(|| lacks.join(" and "))
}
