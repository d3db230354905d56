//! Watches for tasks that are stuck, and measures how long they are.
//!
//! A task is stuck while it is RUNNING in the name of a worker that is dead, or past its lease, and while it is
//! PUBLISHED and its ticket may be lost: while Redis has fewer tickets than there are published tasks. Otherwise it only
//! waits for the workers to have time. It can only go on while Postgres answers and a living scheduler leads, and a
//! published one while there are Redis and a worker. So its time counts from when it was first seen stuck, and anew
//! from the moment at which the last of these came back: what is measured is the service, not the length of outages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::crew::Crew;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// One line for the leader, one for each task that is on its way or runs.
const QUESTION: &str = "
    SELECT 'leader', holder, '' FROM leadership WHERE until > clock_timestamp()
    UNION ALL
    SELECT CASE WHEN state = 'RUNNING' AND lease_expires_at < clock_timestamp() THEN 'EXPIRED' ELSE state END,
        coalesce(worker, ''), concat(id, ' ', attempt, ' ', published_at)
    FROM tasks WHERE state IN ('RUNNING', 'PUBLISHED')";

/// The longest that a task was stuck.
#[derive(Debug, Clone, Default)]
pub(crate) struct Worst {
    pub(crate) time: Duration,
    /// Which task, and in which way.
    pub(crate) what: String,
    /// How long it took to look, at worst.
    pub(crate) slowest_look: Duration,
}

/// A thread that looks until it is asked for what it saw.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Worst>,
}

impl Watch {
    pub(crate) fn begin(crew: Arc<Crew>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                seen.look(&crew);
                std::thread::sleep(LOOK_EVERY);
            }
            seen.worst
        });
        Self { stop, thread }
    }

    /// Ends it.
    pub(crate) fn end(self) -> Worst {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// Since when each task is stuck that is, by how and which.
    stuck: HashMap<String, Instant>,
    worst: Worst,
}

impl Seen {
    fn look(&mut self, crew: &Crew) {
        let begun = Instant::now();
        let Some(answer) = crew.ask(QUESTION) else {
            self.stuck.clear();
            return;
        };
        let now = Instant::now();
        self.worst.slowest_look = self.worst.slowest_look.max(now - begun);
        let lines: Vec<Vec<&str>> = answer
            .lines()
            .map(|line| line.split('|').collect())
            .collect();
        let led = lines
            .iter()
            .any(|line| line[0] == "leader" && is_alive(crew, line[1]));
        let published = lines.iter().filter(|line| line[0] == "PUBLISHED").count();
        let tickets = crew.ask_redis(&["XLEN", "filejobs:tasks"]);
        let tickets = tickets.and_then(|count| count.parse::<usize>().ok());
        let lost = led && crew.has_worker() && tickets.is_some_and(|tickets| tickets < published);
        let mut stuck = HashMap::new();
        for line in &lines {
            let (state, worker, task) = (line[0], line[1], line[2]);
            let counts = match state {
                "PUBLISHED" => lost,
                "EXPIRED" => led,
                "RUNNING" => led && !is_alive(crew, worker),
                _ => false,
            };
            if !counts {
                continue;
            }
            // A lease that runs out is the same wait for the same task.
            let kind = if state == "PUBLISHED" {
                state
            } else {
                "RUNNING"
            };
            let key = format!("{kind} {task}");
            let since = self.stuck.get(&key).copied().unwrap_or(now);
            if now - since > self.worst.time {
                self.worst.time = now - since;
                self.worst.what = format!("{state} {worker} {task}");
            }
            stuck.insert(key, since);
        }
        self.stuck = stuck;
    }
}

/// Whether the process with this name (host, process id, chance) lives.
fn is_alive(crew: &Crew, name: &str) -> bool {
    let pid = name.rsplit('-').nth(1).and_then(|pid| pid.parse().ok());
    crew.lives(pid.unwrap_or(0))
}
