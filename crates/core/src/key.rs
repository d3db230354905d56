//! API keys: what one looks like, what it allows, and what is kept of it.
//!
//! A key reads `fj_PREFIX_SECRET`. The prefix names the key in lists and logs; the secret is shown once, when the key
//! is made. What is kept is the SHA-256 of the whole text. A slow password hash would protect nothing here: it exists
//! to make *guessable* secrets expensive to try, while 160 random bits cannot be tried at any price, and it would cost
//! every request tens of milliseconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ids::Namespace;
use crate::sources::Randomness;

/// What every key begins with, so that secret scanners know one when they see it.
const MARK: &str = "fj";
/// Characters of a prefix that we make; others may be shorter or longer.
const PREFIX_CHARS: usize = 8;
const PREFIX_TAKEN: std::ops::RangeInclusive<usize> = 6..=16;
/// Characters of a secret that we make: five random bits each.
const SECRET_CHARS: usize = 32;
/// 32 hexadecimal digits hold 128 bits: fewer characters are not worth being called a secret.
const SECRET_TAKEN: std::ops::RangeInclusive<usize> = 32..=128;
/// Characters of a key's name.
const NAME_CHARS: usize = 100;
/// 32 characters that nobody mistakes for one another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that is no API key. It does not say what the text was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an API key: one reads fj_PREFIX_SECRET, with 6 to 16 of a-z and 0-9 and 32 to 128 letters and digits"
)]
pub struct InvalidKey;

/// An API key with its secret: only where it is made or presented.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    prefix: KeyPrefix,
    text: String,
}

impl ApiKey {
    /// A new key that nobody can guess.
    #[must_use]
    pub fn generate(randomness: &dyn Randomness) -> Self {
        let mut random = [0; PREFIX_CHARS + SECRET_CHARS];
        randomness.fill(&mut random);
        let letters = random.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        let (prefix, secret) = letters.split_at(PREFIX_CHARS);
        let prefix = KeyPrefix(prefix.iter().collect());
        let secret: String = secret.iter().collect();
        Self {
            text: format!("{MARK}_{prefix}_{secret}"),
            prefix,
        }
    }

    /// The part that may be shown.
    #[must_use]
    pub fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// The whole key, secret included: only for whoever shall use it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of the key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(&self.text).into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}_{}_…", self.prefix)
    }
}

impl FromStr for ApiKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut parts = text.split('_');
        let (Some(MARK), Some(prefix), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidKey);
        };
        let sane = SECRET_TAKEN.contains(&secret.len())
            && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        if !sane {
            return Err(InvalidKey);
        }
        Ok(Self {
            prefix: prefix.parse()?,
            text: text.to_owned(),
        })
    }
}

/// The part of a key that may be shown: names it in lists, logs and commands. It is read with and without the `fj_` that
/// stands before it in the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyPrefix {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let marked = text.strip_prefix(MARK);
        let text = marked
            .and_then(|rest| rest.strip_prefix('_'))
            .unwrap_or(text);
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let sane = PREFIX_TAKEN.contains(&text.len()) && text.bytes().all(inner);
        sane.then(|| Self(text.to_owned())).ok_or(InvalidKey)
    }
}

/// SHA-256 of a key. Two are compared in a time that does not depend on where they differ.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// A hash as it was stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a key lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Look at jobs and fetch what they found.
    #[serde(rename = "jobs:read")]
    JobsRead,
    /// Hand files in and steer jobs.
    #[serde(rename = "jobs:write")]
    JobsWrite,
    /// Everything, in every namespace.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::JobsRead, Self::JobsWrite, Self::Admin];

    /// The scope's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: jobs:read, jobs:write or admin")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or(UnknownScope)
    }
}

/// Scopes and namespace that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// A key that allows nothing.
    #[error("a key needs at least one scope: jobs:read, jobs:write or admin")]
    NoScope,
    /// `admin` is never bound to a namespace: what it steers (queue, workers, dead letters) belongs to none.
    #[error("a key with the scope admin is for every namespace: leave the namespace out")]
    AdminWithNamespace,
    /// Every other key is bound to one.
    #[error("a key without the scope admin is for one namespace: name it")]
    NoNamespace,
}

/// What a key allows, and where: either everything everywhere (`admin`), or some of reading and writing the jobs of
/// one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant(Reach);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Everything,
    Jobs {
        namespace: Namespace,
        read: bool,
        write: bool,
    },
}

impl Grant {
    /// Everything, in every namespace.
    #[must_use]
    pub fn admin() -> Self {
        Self(Reach::Everything)
    }

    /// Scopes in a namespace; `admin`, which includes the others, without one.
    pub fn new(scopes: &[Scope], namespace: Option<Namespace>) -> Result<Self, InvalidGrant> {
        let has = |scope| scopes.contains(&scope);
        match (has(Scope::Admin), namespace) {
            (true, None) => Ok(Self::admin()),
            (true, Some(_)) => Err(InvalidGrant::AdminWithNamespace),
            (false, _) if scopes.is_empty() => Err(InvalidGrant::NoScope),
            (false, None) => Err(InvalidGrant::NoNamespace),
            (false, Some(namespace)) => Ok(Self(Reach::Jobs {
                namespace,
                read: has(Scope::JobsRead),
                write: has(Scope::JobsWrite),
            })),
        }
    }

    /// Whether it includes this scope.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        match (&self.0, scope) {
            (Reach::Everything, _) => true,
            (Reach::Jobs { read, .. }, Scope::JobsRead) => *read,
            (Reach::Jobs { write, .. }, Scope::JobsWrite) => *write,
            (Reach::Jobs { .. }, Scope::Admin) => false,
        }
    }

    /// The only namespace whose jobs exist for the holder; `None` for all.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        match &self.0 {
            Reach::Everything => None,
            Reach::Jobs { namespace, .. } => Some(namespace),
        }
    }

    /// Whether jobs of this namespace exist for the holder.
    #[must_use]
    pub fn sees(&self, namespace: &Namespace) -> bool {
        self.namespace().is_none_or(|own| own == namespace)
    }

    /// The scopes as they are shown and stored: `admin` alone, since it includes the others.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        match &self.0 {
            Reach::Everything => vec![Scope::Admin],
            Reach::Jobs { .. } => {
                let scopes = Scope::ALL.into_iter();
                scopes.filter(|scope| self.allows(*scope)).collect()
            }
        }
    }

    /// The scopes in one text, a blank between two.
    #[must_use]
    pub fn scopes_text(&self) -> String {
        let names: Vec<_> = self.scopes().into_iter().map(Scope::as_str).collect();
        names.join(" ")
    }
}

/// What a person calls a key: what it is for, or whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

/// A text that cannot name a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's name has 1 to {NAME_CHARS} characters, all of them visible")]
pub struct InvalidKeyName;

impl KeyName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let text = text.trim();
        let sane = (1..=NAME_CHARS).contains(&text.chars().count())
            && !text.chars().any(crate::file::is_invisible);
        sane.then(|| Self(text.to_owned())).ok_or(InvalidKeyName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Sources;

    #[test]
    fn a_new_key_reads_back_and_no_two_are_alike() {
        let randomness = Sources::system().randomness;
        let (one, other) = (
            ApiKey::generate(&*randomness),
            ApiKey::generate(&*randomness),
        );
        assert_ne!(one, other);
        assert_ne!(one.hash(), other.hash());
        let read: ApiKey = one.reveal().parse().unwrap();
        assert_eq!((read.prefix(), read.hash()), (one.prefix(), one.hash()));
        assert_eq!(one.reveal().len(), "fj_".len() + 8 + 1 + 32);
    }

    #[test]
    fn the_secret_is_never_shown_by_accident() {
        let key = ApiKey::generate(&*Sources::system().randomness);
        let secret = key.reveal().rsplit('_').next().unwrap();
        let shown = format!("{key:?} {:?}", key.hash());
        assert!(!shown.contains(secret), "{shown}");
        assert!(shown.contains(key.prefix().as_str()), "{shown}");
    }

    #[test]
    fn only_a_whole_key_with_enough_of_a_secret_is_taken() {
        let secret = "0123456789abcdef0123456789ABCDEF";
        assert!(format!("fj_ci2026_{secret}").parse::<ApiKey>().is_ok());
        for bad in [
            String::new(),
            "fj".to_owned(),
            format!("fj_{secret}"),
            format!("gh_ci2026_{secret}"),
            format!("fj_ci_{secret}"),
            format!("fj_CI2026_{secret}"),
            format!("fj_ci2026_{}", &secret[1..]),
            format!("fj_ci2026_{}", secret.repeat(5)),
            format!("fj_ci2026_{secret}_x"),
            format!("fj_ci2026_{secret}\n"),
            format!(" fj_ci2026_{secret}"),
        ] {
            assert_eq!(bad.parse::<ApiKey>(), Err(InvalidKey), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_read_alone_and_as_it_stands_in_its_key() {
        let alone: KeyPrefix = "ci2026".parse().unwrap();
        assert_eq!("fj_ci2026".parse(), Ok(alone));
        // One that begins with the mark's own letters keeps them.
        let like_the_mark: KeyPrefix = "fj2026".parse().unwrap();
        assert_eq!(like_the_mark.as_str(), "fj2026");
        for bad in ["", "fj_", "fj_ci", "fj_fj_ci2026", "gh_ci2026", "ci_2026"] {
            assert_eq!(bad.parse::<KeyPrefix>(), Err(InvalidKey), "{bad}");
        }
    }

    #[test]
    fn a_grant_is_everything_or_one_namespace() {
        use Scope::{Admin, JobsRead, JobsWrite};
        let team = || Some("team-a".parse::<Namespace>().unwrap());
        let admin = Grant::new(&[JobsRead, Admin], None).unwrap();
        assert_eq!(admin, Grant::admin());
        assert_eq!(admin.scopes_text(), "admin");
        assert!(Scope::ALL.into_iter().all(|scope| admin.allows(scope)));
        assert!(admin.sees(&Namespace::default()));

        let reader = Grant::new(&[JobsRead], team()).unwrap();
        assert_eq!(
            Scope::ALL.map(|scope| reader.allows(scope)),
            [true, false, false]
        );
        assert!(reader.sees(&team().unwrap()) && !reader.sees(&Namespace::default()));
        let both = Grant::new(&[JobsWrite, JobsRead], team()).unwrap();
        assert_eq!(both.scopes_text(), "jobs:read jobs:write");

        assert_eq!(Grant::new(&[], team()), Err(InvalidGrant::NoScope));
        assert_eq!(
            Grant::new(&[JobsRead], None),
            Err(InvalidGrant::NoNamespace)
        );
        assert_eq!(
            Grant::new(&[Admin], team()),
            Err(InvalidGrant::AdminWithNamespace)
        );
    }

    #[test]
    fn a_name_is_short_and_visible() {
        assert_eq!(
            " nightly import ".parse::<KeyName>().unwrap().as_str(),
            "nightly import"
        );
        for bad in ["", "  ", "a\nb", "a\u{202e}b", &"x".repeat(101)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }
}
