//! What the system says about processes: their children, their memory.

use std::fs;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{self, DEADLINE};

/// The process ids of all living descendants of `pid`, zombies left out.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = living().collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            all.iter()
                .filter(|(_, p)| *p == parent)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    found.remove(0);
    found
}

/// Whether a process lives; a zombie does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some()
}

/// Whether a process is stopped by a signal, or gone: it starts no more children.
#[must_use]
pub fn is_still(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| stat.state == "T")
}

/// Sends a process a signal by its short name: `TERM`, `INT`, `KILL`, `STOP`, `CONT`.
pub fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let signal = match name {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        _ => anyhow::bail!("no signal is called {name}"),
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.context("no process has such an id")?;
    kill_process(pid, signal).with_context(|| format!("{pid:?} did not take the signal {name}"))
}

/// Waits until a process has an engine at work, and has that stand still from then on: it does not end its task, for as
/// long as that is wanted. The engine.
pub async fn hold_engine(pid: u32) -> anyhow::Result<u32> {
    wait::until("an engine to hold", DEADLINE, async || {
        // One that gives way to others has begun, and goes with its parent from then on.
        let is_at_work = |child: &u32| stat(*child).is_some_and(|stat| stat.nice > 0);
        let mut engines = descendants(pid).into_iter().filter(is_at_work);
        Ok(engines.find(|engine| signal(*engine, "STOP").is_ok()))
    })
    .await
}

/// How many files a process may have open, and how many it may allow itself; nothing when it is gone.
#[must_use]
pub fn open_files_limits(pid: u32) -> Option<(u64, u64)> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Memory of a process that is in RAM now, in bytes; 0 when it is gone.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:") * 1024
}

/// The most memory that a process ever had in RAM, in bytes; 0 when it is gone.
#[must_use]
pub fn peak_resident_bytes(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:") * 1024
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Ids of all living processes with those of their parents.
fn living() -> impl Iterator<Item = (u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?.parent))
    })
}

/// A process that lives.
struct Stat {
    /// One letter, as in `ps`.
    state: String,
    parent: u32,
    /// How much it gives way to others.
    nice: i32,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, even more parentheses.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    // The 19th in proc_pid_stat(5); the state is the third.
    let nice = fields.nth(14)?.parse().ok()?;
    (!matches!(state.as_str(), "Z" | "X")).then_some(Stat {
        state,
        parent,
        nice,
    })
}
