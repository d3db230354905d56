//! What a seed stands for: who is killed when and for how long, and what is handed in meanwhile.
//!
//! The same seed and the same number of kills give the same plan. Kills and files are drawn apart, so that a file stays
//! the same when there are more kills.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::files::Content;

/// Who can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Api(usize),
    Worker(usize),
    Scheduler(usize),
    Postgres,
    Redis,
}

/// Each victim as often as it is drawn. Schedulers less: half of a plan would pass without one that leads.
const VICTIMS: [(Victim, u32); 8] = [
    (Victim::Api(0), 3),
    (Victim::Api(1), 3),
    (Victim::Worker(0), 3),
    (Victim::Worker(1), 3),
    (Victim::Scheduler(0), 2),
    (Victim::Scheduler(1), 2),
    (Victim::Postgres, 3),
    (Victim::Redis, 3),
];

/// Milliseconds between two kills.
const BETWEEN_KILLS: std::ops::Range<u64> = 100..1_100;
/// Milliseconds until a victim is started again: often longer than until the next kill.
const PAUSE: std::ops::Range<u64> = 0..1_500;
/// Milliseconds between two files.
const BETWEEN_FILES: std::ops::Range<u64> = 200..600;
/// Milliseconds between a file's acceptance and the cancel of its job.
const BEFORE_CANCEL: std::ops::Range<u64> = 0..1_500;

/// One `kill -9`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    /// Since the beginning.
    pub(crate) at: Duration,
    pub(crate) victim: Victim,
    /// Until it is started again.
    pub(crate) pause: Duration,
}

/// What is done with a job besides waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steering {
    None,
    Cancel,
    /// Cancelled, then done again.
    Retry,
}

/// A file that is handed in.
#[derive(Debug, Clone)]
pub(crate) struct HandIn {
    /// Since the beginning.
    pub(crate) at: Duration,
    /// The idempotency key, too.
    pub(crate) name: String,
    pub(crate) content: Content,
    pub(crate) webhook: bool,
    pub(crate) steering: Steering,
    pub(crate) steered_after: Duration,
}

/// What happens to a service.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kills: Vec<Kill>,
    pub(crate) files: Vec<HandIn>,
}

impl Plan {
    pub(crate) fn new(seed: u64, kills: usize) -> Self {
        let kills = draw_kills(seed, kills);
        let end = kills.last().map_or(Duration::ZERO, |kill| kill.at);
        Self {
            seed,
            files: draw_files(seed, end),
            kills,
        }
    }

    /// The command that does the same again.
    pub(crate) fn replay(&self) -> String {
        let (seed, kills) = (self.seed, self.kills.len());
        format!("cargo xtask faults --seed {seed} --kills {kills}")
    }

    /// How often each kind of victim is killed.
    pub(crate) fn tally(&self) -> String {
        let of = |wanted: fn(Victim) -> bool| {
            let kills = self.kills.iter();
            kills.filter(|kill| wanted(kill.victim)).count()
        };
        format!(
            "api {}, worker {}, scheduler {}, Postgres {}, Redis {}",
            of(|victim| matches!(victim, Victim::Api(_))),
            of(|victim| matches!(victim, Victim::Worker(_))),
            of(|victim| matches!(victim, Victim::Scheduler(_))),
            of(|victim| victim == Victim::Postgres),
            of(|victim| victim == Victim::Redis),
        )
    }
}

fn draw_kills(seed: u64, kills: usize) -> Vec<Kill> {
    let mut random = StdRng::seed_from_u64(seed);
    let all: u32 = VICTIMS.iter().map(|(_, weight)| weight).sum();
    let mut at = Duration::ZERO;
    let draw = |_| {
        at += millis(&mut random, BETWEEN_KILLS);
        let mut drawn = random.random_range(0..all);
        let mut victims = VICTIMS.iter();
        let victim = victims.find(|(_, weight)| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        });
        Kill {
            at,
            victim: victim.unwrap().0,
            pause: millis(&mut random, PAUSE),
        }
    };
    (0..kills).map(draw).collect()
}

fn draw_files(seed: u64, end: Duration) -> Vec<HandIn> {
    let mut random = StdRng::seed_from_u64(seed ^ 0xF11E);
    let mut at = Duration::ZERO;
    let mut files = Vec::new();
    while at <= end {
        let content = match random.random_range(0..20) {
            0..14 => Content::Small {
                rows: random.random_range(1..200),
            },
            14..17 => Content::Split,
            _ => Content::Unusable,
        };
        files.push(HandIn {
            at,
            name: format!("{seed}-{}", files.len()),
            content,
            webhook: random.random_bool(0.3),
            steering: match random.random_range(0..20) {
                0..2 => Steering::Cancel,
                2..4 => Steering::Retry,
                _ => Steering::None,
            },
            steered_after: millis(&mut random, BEFORE_CANCEL),
        });
        at += millis(&mut random, BETWEEN_FILES);
    }
    files
}

fn millis(random: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(n) => write!(f, "api {n}"),
            Self::Worker(n) => write!(f, "worker {n}"),
            Self::Scheduler(n) => write!(f, "scheduler {n}"),
            Self::Postgres => write!(f, "Postgres"),
            Self::Redis => write!(f, "Redis"),
        }
    }
}

#[test]
fn a_seed_always_stands_for_the_same_plan() {
    let plan = |seed| format!("{:?}", Plan::new(seed, 100));
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    let (few, many) = (Plan::new(7, 50), Plan::new(7, 100));
    let shown = |plan: &Plan| format!("{:?}", plan.kills[49]);
    assert_eq!(shown(&few), shown(&many));
    assert_eq!(
        few.files.last().unwrap().name,
        "7-".to_owned() + &(few.files.len() - 1).to_string()
    );
}
