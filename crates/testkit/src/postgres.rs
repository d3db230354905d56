//! A Postgres server of the test's own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::processes;
use crate::tethered::{Tethered, free_port};

/// Longest wait for the server to answer after a start, on a busy machine and with a crash to recover from.
const START: Duration = Duration::from_mins(1);

/// Longest wait for a signal that stops the server.
const STOPPED: Duration = Duration::from_secs(20);

/// A port can be taken between the look and the start.
const START_TRIES: usize = 5;

/// The role that owns everything.
const ROLE: &str = "filejobs";

/// Oldest version that the service runs on.
const OLDEST: u32 = 15;

/// What installs it.
const HINT: &str = "`cargo xtask test rust` installs it (on Debian: apt-get install postgresql)";

/// What every server here is started with.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    // Tests of one binary run beside each other, each with a pool of its own.
    "max_connections=400",
    "shared_buffers=64MB",
    "max_wal_size=256MB",
    "log_min_messages=warning",
];

/// What a server is started with that nobody kills: what the system has written, a killed server still finds.
const HASTY: &[&str] = &["fsync=off", "full_page_writes=off"];

/// A running `postgres` with a folder of its own, or one that was killed and can be started again. All calls block, for
/// milliseconds but for those that start it.
#[derive(Debug)]
pub struct PostgresServer {
    programs: Programs,
    home: TempDir,
    port: u16,
    settings: Vec<&'static str>,
    /// Lives as long as this process, so that nobody drops it and its folder.
    shared: bool,
    process: Option<Tethered>,
}

/// Where the programs are, and as whom they run: the server refuses to run as root.
#[derive(Debug)]
struct Programs {
    folder: PathBuf,
    user: Option<User>,
}

#[derive(Debug)]
struct User {
    name: String,
    id: u32,
    group: u32,
}

impl PostgresServer {
    /// Starts a server that waits for no disk.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(HASTY, false)
    }

    /// Starts a server as production has it: what it has confirmed is on disk.
    pub fn start_durable() -> anyhow::Result<Self> {
        Self::start_with(&[], false)
    }

    /// The same with further settings: `NAME=VALUE`, which win over ours.
    pub fn start_durable_with(settings: &[&'static str]) -> anyhow::Result<Self> {
        Self::start_with(settings, false)
    }

    fn start_with(settings: &[&'static str], shared: bool) -> anyhow::Result<Self> {
        let mut server = Self {
            programs: Programs::find()?,
            home: tempfile::tempdir()?,
            port: 0,
            settings: [SETTINGS, settings].concat(),
            shared,
            process: None,
        };
        if let Some(user) = &server.programs.user {
            chown(server.home.path(), Some(user.id), Some(user.group))?;
        }
        server.make_cluster()?;
        for _ in 1..START_TRIES {
            server.port = free_port()?;
            if server.launch().is_ok() {
                return Ok(server);
            }
        }
        server.port = free_port()?;
        server.launch()?;
        Ok(server)
    }

    /// The one server that the tests of a binary share; each uses a database of its own ([`PostgresServer::create`]).
    ///
    /// # Panics
    /// When no server can be started: tests without it mean nothing.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start_with(HASTY, true) {
            Ok(server) => server,
            #[expect(clippy::panic, reason = "there is no test without the server")]
            Err(error) => panic!("{error:#}"),
        })
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn make_cluster(&self) -> anyhow::Result<()> {
        let mut initdb = self.programs.command("initdb");
        initdb
            .args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8"])
            .args(["--locale", "C.UTF-8", "--no-sync", "--no-instructions"])
            .arg("--pgdata")
            .arg(self.data())
            .current_dir(self.home.path());
        run(&mut initdb).map(drop)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let mut command = self.programs.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .current_dir(self.home.path());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = self.home.path().join("log");
        let process = if self.shared {
            Tethered::start_in(&command, &log, self.home.path())
        } else {
            Tethered::start(&command, &log)
        }?;
        let ready = process.until("the server to answer", START, || {
            let mut ask = self.programs.command("pg_isready");
            ask.args(["--quiet", "--host", "127.0.0.1", "--timeout", "1"]);
            ask.args(["--port", &self.port.to_string()]);
            Ok(ask.stdout(Stdio::null()).status()?.success())
        });
        ready.context("the Postgres server could not be started")?;
        self.process = Some(process);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `postgres://ROLE@127.0.0.1:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        Self::url_at(self.address(), database)
    }

    /// The same for a server that is reached at another address: that of a proxy.
    #[must_use]
    pub fn url_at(address: SocketAddr, database: &str) -> String {
        format!("postgres://{ROLE}@{address}/{database}")
    }

    /// Its process id; 0 when it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Tethered::pid)
    }

    /// Makes a new database, empty or a copy of another one to which nobody is connected, and gives its name.
    pub fn create(&self, template: Option<&str>) -> anyhow::Result<String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let template = template.unwrap_or("template0");
        self.run(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )?;
        Ok(name)
    }

    /// Makes a new database with the tables that these migrations give: one that an earlier version has left. They are
    /// noted as the program notes them, which goes on from there.
    pub fn create_at(&self, migrations: &[PathBuf]) -> anyhow::Result<String> {
        let name = self.create(None)?;
        self.run(
            &name,
            "CREATE TABLE _sqlx_migrations (
                version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(),
                success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL
            )",
        )?;
        for path in migrations {
            let migration = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            let file = path.file_stem().and_then(OsStr::to_str);
            let (version, description) = file
                .and_then(|file| file.split_once('_'))
                .context("a migration is named VERSION_DESCRIPTION.sql")?;
            let mut bytes = String::new();
            for byte in migration.bytes() {
                write!(bytes, "{byte:02x}")?;
            }
            self.run(&name, &migration)?;
            self.run(
                &name,
                &format!(
                    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                    VALUES ({version}, '{description}', true, sha384('\\x{bytes}'), 0)"
                ),
            )?;
        }
        Ok(name)
    }

    /// Runs statements in a database and gives what they return: a line a row, a `|` between columns.
    pub fn run(&self, database: &str, statements: &str) -> anyhow::Result<String> {
        let mut psql = self.programs.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", statements])
            .args(["--dbname", &self.url(database)]);
        Ok(run(&mut psql)?.trim_end().to_owned())
    }

    /// Writes a backup of a database into a file, as operators do: `pg_dump --format=custom`.
    pub fn dump(&self, database: &str, to: &Path) -> anyhow::Result<()> {
        let mut dump = self.programs.command("pg_dump");
        // The file is opened here: the user of the server may not be allowed to.
        dump.args(["--format=custom", "--dbname", &self.url(database)])
            .stdin(Stdio::null())
            .stdout(File::create(to)?);
        succeed(&mut dump).map(drop)
    }

    /// Makes a database of a backup, and gives its name: `createdb` and `pg_restore`.
    pub fn restore(&self, from: &Path) -> anyhow::Result<String> {
        let database = self.create(None)?;
        let mut restore = self.programs.command("pg_restore");
        restore
            .args(["--exit-on-error", "--no-owner", "--dbname"])
            .arg(self.url(&database))
            .stdin(File::open(from)?);
        succeed(&mut restore)?;
        Ok(database)
    }

    /// Ends it as a crash of its machine would, every process of it at once.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        // One that it starts after the look would live on, and the next server would refuse to start beside it.
        if process.is_running() {
            process.signal("STOP")?;
        }
        process.until("the server to stand still", STOPPED, || {
            Ok(processes::is_still(process.pid()))
        })?;
        let children = processes::descendants(process.pid());
        process.end("KILL")?;
        for child in &children {
            // Most have noticed already.
            let _ = processes::signal(*child, "KILL");
        }
        while children.iter().any(|child| processes::is_alive(*child)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Has the system stop (`STOP`) or go on with (`CONT`) its first process, or sends any other signal.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        process.signal(name)
    }

    /// Starts it again on the same port, with all that it had written.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.launch()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Its processes must be gone before its folder goes.
        let _ = self.kill();
    }
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let folder = newest_of_debian().or_else(on_path);
        let folder = folder.with_context(|| format!("no Postgres server is installed; {HINT}"))?;
        let programs = Self {
            folder,
            user: unprivileged()?,
        };
        let version = run(programs.command("postgres").arg("--version"))?;
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .find(|word| !word.is_empty());
        if major.and_then(|major| major.parse::<u32>().ok()) < Some(OLDEST) {
            bail!("{} is older than Postgres {OLDEST}; {HINT}", version.trim());
        }
        Ok(programs)
    }

    fn command(&self, program: &str) -> Command {
        let program = self.folder.join(program);
        let Some(user) = &self.user else {
            return Command::new(program);
        };
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", user.name))
            .arg(format!("--regid={}", user.group))
            .arg("--clear-groups")
            .arg(program);
        command
    }
}

/// Debian has the programs of each version in a folder of its own, none of them on the path.
fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbered = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin")))
    });
    numbered
        .filter(|(_, folder)| folder.join("initdb").exists())
        .max()
        .map(|(_, folder)| folder)
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
}

/// Whom root becomes to run the server: the user of the package, else the one that owns nothing. `None` for others.
fn unprivileged() -> anyhow::Result<Option<User>> {
    if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let mut fields = users.lines().map(|line| line.split(':')).find(|fields| {
            let mut fields = fields.clone();
            fields.next() == Some(name)
        })?;
        Some(User {
            name: name.to_owned(),
            id: fields.nth(2)?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    user.map(Some)
        .context("there is neither a user `postgres` nor a user `nobody` to run the server as")
}

/// Runs a program to its end and gives what it printed; an error tells what it said.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = succeed(command.stdin(Stdio::null()))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a program to its end; an error tells what it said.
fn succeed(command: &mut Command) -> anyhow::Result<Output> {
    let name = Path::new(command.get_program()).to_owned();
    let output = command.output();
    let output = output.with_context(|| format!("{} could not be started", name.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {said}", name.display(), output.status);
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_survives_a_crash() {
        let mut server = PostgresServer::start_durable().unwrap();
        let database = server.create(None).unwrap();
        server
            .run(&database, "CREATE TABLE kept AS SELECT 7 AS number")
            .unwrap();
        let copy = server.create(Some(&database)).unwrap();
        server.restart().unwrap();
        for database in [database, copy] {
            let number = server.run(&database, "SELECT number FROM kept").unwrap();
            assert_eq!(number, "7");
        }
        let (pid, home) = (server.pid(), server.home.path().to_owned());
        drop(server);
        assert!(!processes::is_alive(pid));
        assert!(!home.exists());
    }
}
