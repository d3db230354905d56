//! Whether a server is set up so that the queue can be relied upon.

use std::fmt;

use redis::Value;

use super::entry::text;

/// The first version with all that the queue needs.
const OLDEST: (u32, u32) = (7, 0);

/// Something about the server that should be different. Its text says what to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The server is too old.
    Old {
        /// Its version.
        version: String,
    },
    /// What the server holds is lost when it is killed.
    NotPersistent,
    /// The server may throw the queue away when its memory is used up.
    Evicts {
        /// Its `maxmemory-policy`.
        policy: String,
    },
    /// The server does not tell.
    Unknown {
        /// Which setting.
        setting: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old { version } => write!(
                f,
                "the Redis server has version {version}; use 7.0 or newer"
            ),
            Self::NotPersistent => f.write_str(
                "the Redis server keeps no append-only file, so that a restart delays the work in its queue; set `appendonly yes`",
            ),
            Self::Evicts { policy } => write!(
                f,
                "the Redis server may drop its queue when memory is short (`maxmemory-policy {policy}`); set `maxmemory-policy noeviction`"
            ),
            Self::Unknown { setting } => write!(
                f,
                "the Redis server does not say what its {setting} is; make sure that it has version 7.0 or newer, `appendonly yes` and `maxmemory-policy noeviction`"
            ),
        }
    }
}

/// What an answer to `INFO` gives reason to warn of.
pub(super) fn judge(info: &Value) -> Vec<Warning> {
    let info = text(info).unwrap_or_default();
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let unknown = |setting| Some(Warning::Unknown { setting });
    let version = match field("redis_version") {
        Some(version) if parse(version).is_some_and(|v| v >= OLDEST) => None,
        Some(version) => Some(Warning::Old {
            version: version.to_owned(),
        }),
        None => unknown("version"),
    };
    let persistent = match field("aof_enabled") {
        Some("1") => None,
        Some(_) => Some(Warning::NotPersistent),
        None => unknown("`appendonly`"),
    };
    let evicts = match field("maxmemory_policy") {
        Some("noeviction") => None,
        Some(policy) => Some(Warning::Evicts {
            policy: policy.to_owned(),
        }),
        None => unknown("`maxmemory-policy`"),
    };
    [version, persistent, evicts]
        .into_iter()
        .flatten()
        .collect()
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(info: &str) -> Vec<String> {
        let info = Value::BulkString(info.replace('\n', "\r\n").into_bytes());
        judge(&info).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_that_is_set_up_well_gives_no_warning() {
        for version in ["7.0.15", "7.4.1", "8.0.0", "10.2.1"] {
            let info = format!(
                "# Server\nredis_version:{version}\n# Memory\nmaxmemory_policy:noeviction\naof_enabled:1\n"
            );
            assert_eq!(warnings(&info), [""; 0], "{version}");
        }
    }

    #[test]
    fn each_warning_says_what_to_set() {
        let told = warnings("redis_version:6.2.6\nmaxmemory_policy:allkeys-lru\naof_enabled:0\n");
        let wanted = [
            "7.0 or newer",
            "`appendonly yes`",
            "`maxmemory-policy noeviction`",
        ];
        for (told, wanted) in told.iter().zip(wanted) {
            assert!(told.contains(wanted), "{told}");
        }
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn a_server_that_tells_nothing_gives_a_warning_for_each_setting() {
        assert_eq!(warnings("").len(), 3);
        assert_eq!(warnings("redis_version:next\n").len(), 3);
    }
}
