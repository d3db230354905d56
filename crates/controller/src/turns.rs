//! Whose turn it is, when more objects want to be looked at than may be looked at together.
//!
//! Objects of whose job the database has told something go first, and those that are deleted: what has begun is shown to
//! its end before anything new is begun. One turn in [`FAIR`] goes to whoever waits longest, so that nobody waits for
//! ever.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::object::Key;

/// Of so many turns one goes to whoever waits longest, whatever is known of it.
const FAIR: u64 = 4;

/// Objects that are remembered to go first; beyond that all are forgotten, which costs them their place only.
const REMEMBERED: usize = 10_000;

/// Turns, of which only so many are given at a time.
#[derive(Debug)]
pub(crate) struct Turns {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    /// No turn is given any more.
    closed: bool,
    /// Turns that somebody had to wait for.
    given: u64,
    /// Who came so far; the lower one's number, the longer one waits.
    came: u64,
    /// Those that go before the others.
    first: BTreeMap<u64, Waiter>,
    others: BTreeMap<u64, Waiter>,
    /// The numbers of the others.
    numbers: HashMap<Key, u64>,
    /// Those that do not wait yet, and will go first.
    expected: HashSet<Key>,
}

#[derive(Debug)]
struct Waiter {
    key: Key,
    wake: oneshot::Sender<()>,
}

/// A turn; the next one is given when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

/// One who waits. A turn that is given to one who has given up waiting goes on to the next.
struct Waiting<'a> {
    woken: oneshot::Receiver<()>,
    turns: &'a Turns,
}

impl Turns {
    pub(crate) fn new(at_a_time: u16) -> Self {
        Self {
            inner: Mutex::new(Inner {
                free: at_a_time.into(),
                closed: false,
                given: 0,
                came: 0,
                first: BTreeMap::new(),
                others: BTreeMap::new(),
                numbers: HashMap::new(),
                expected: HashSet::new(),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an object go before the others, whether it waits already or will.
    pub(crate) fn go_first(&self, key: &Key) {
        self.inner().go_first(key);
    }

    /// Waits for a turn; `None` when there will be none.
    pub(crate) async fn take(&self, key: Key) -> Option<Turn<'_>> {
        let woken = self.inner().come(key)?;
        let mut waiting = Waiting { woken, turns: self };
        (&mut waiting.woken).await.ok()?;
        Some(Turn(self))
    }

    /// Sends everybody away: who stands in line has no turn, and nobody will.
    pub(crate) fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.first.clear();
        inner.others.clear();
        inner.numbers.clear();
    }

    fn pass_on(&self) {
        loop {
            let mut inner = self.inner();
            let Some(next) = inner.next() else {
                inner.free += 1;
                return;
            };
            if next.wake.send(()).is_ok() {
                return;
            }
        }
    }
}

impl Inner {
    fn go_first(&mut self, key: &Key) {
        let waiting = self.numbers.remove(key);
        let waiting = waiting.and_then(|number| Some((number, self.others.remove(&number)?)));
        if let Some((number, waiter)) = waiting {
            self.first.insert(number, waiter);
            return;
        }
        if self.expected.len() >= REMEMBERED {
            self.expected.clear();
        }
        self.expected.insert(key.clone());
    }

    /// Where one who comes waits for its turn, which it has already when one is free; `None` when it is closed.
    fn come(&mut self, key: Key) -> Option<oneshot::Receiver<()>> {
        if self.closed {
            return None;
        }
        let goes_first = self.expected.remove(&key);
        let (wake, woken) = oneshot::channel();
        if self.free > 0 {
            self.free -= 1;
            // The other end is here.
            let _ = wake.send(());
            return Some(woken);
        }
        let number = self.came;
        self.came += 1;
        if goes_first {
            self.first.insert(number, Waiter { key, wake });
        } else {
            self.numbers.insert(key.clone(), number);
            self.others.insert(number, Waiter { key, wake });
        }
        Some(woken)
    }

    /// Takes the next one out of the line.
    fn next(&mut self) -> Option<Waiter> {
        self.given += 1;
        let first = self.first.first_key_value().map(|(number, _)| *number);
        let other = self.others.first_key_value().map(|(number, _)| *number);
        let first_is_next = match (first, other) {
            (Some(first), Some(other)) => first < other || !self.given.is_multiple_of(FAIR),
            (first, _) => first.is_some(),
        };
        if first_is_next {
            return self.first.pop_first().map(|(_, waiter)| waiter);
        }
        let (_, waiter) = self.others.pop_first()?;
        self.numbers.remove(&waiter.key);
        Some(waiter)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.woken.close();
        if self.woken.try_recv().is_ok() {
            self.turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::future::LocalBoxFuture;

    type Take<'a> = LocalBoxFuture<'a, Option<Turn<'a>>>;

    fn key(name: &str) -> Key {
        Key::new(name).within("orders")
    }

    /// Those who wait, in the order in which they get their turns one after the other.
    fn order(mut waiting: Vec<(&'static str, Take<'_>)>) -> Vec<&'static str> {
        let mut order = Vec::new();
        while let Some((place, turn)) = waiting
            .iter_mut()
            .enumerate()
            .find_map(|(place, (_, take))| Some((place, take.now_or_never()?)))
        {
            order.push(waiting.remove(place).0);
            drop(turn.unwrap());
        }
        assert!(waiting.is_empty(), "nobody is left behind");
        order
    }

    /// Has objects come to a line where nobody gets a turn yet.
    fn line<'a>(turns: &'a Turns, names: &[&'static str]) -> Vec<(&'static str, Take<'a>)> {
        let come = names.iter().map(|name| {
            let mut take = turns.take(key(name)).boxed_local();
            assert!((&mut take).now_or_never().is_none(), "{name} has a turn");
            (*name, take)
        });
        come.collect()
    }

    fn first(turns: &Turns) -> Turn<'_> {
        turns.take(key("first")).now_or_never().unwrap().unwrap()
    }

    #[test]
    fn turns_go_in_the_order_of_coming() {
        let turns = Turns::new(1);
        let first = first(&turns);
        let waiting = line(&turns, &["a", "b", "c"]);
        drop(first);
        assert_eq!(order(waiting), ["a", "b", "c"]);
    }

    #[test]
    fn one_that_is_to_go_first_does_whether_it_waits_already_or_not() {
        let turns = Turns::new(1);
        let first = first(&turns);
        turns.go_first(&key("c"));
        let waiting = line(&turns, &["a", "b", "c"]);
        turns.go_first(&key("b"));
        drop(first);
        assert_eq!(order(waiting), ["b", "c", "a"]);
    }

    #[test]
    fn one_turn_in_a_few_goes_to_whoever_waits_longest() {
        let turns = Turns::new(1);
        let first = first(&turns);
        for name in ["1", "2", "3", "4", "5", "6"] {
            turns.go_first(&key(name));
        }
        let waiting = line(&turns, &["a", "b", "1", "2", "3", "4", "5", "6"]);
        drop(first);
        let order = order(waiting);
        assert_eq!(order, ["1", "2", "3", "a", "4", "5", "6", "b"]);
    }

    #[test]
    fn the_turn_of_one_who_has_given_up_is_not_lost() {
        let turns = Turns::new(1);
        let first = first(&turns);
        let mut waiting = line(&turns, &["a", "b", "c"]);
        // One gives up before its turn, one right after it was given.
        drop(waiting.remove(0));
        drop(first);
        drop(waiting.remove(0));
        assert_eq!(order(waiting), ["c"]);
        assert!(turns.take(key("d")).now_or_never().unwrap().is_some());
    }

    #[test]
    fn who_stands_in_line_at_the_end_is_sent_away() {
        let turns = Turns::new(1);
        let first = first(&turns);
        turns.go_first(&key("b"));
        let waiting = line(&turns, &["a", "b"]);
        turns.close();
        for (name, take) in waiting {
            assert!(take.now_or_never().unwrap().is_none(), "{name}");
        }
        drop(first);
        assert!(turns.take(key("c")).now_or_never().unwrap().is_none());
    }

    #[test]
    fn only_so_many_turns_are_given_at_a_time() {
        let turns = Turns::new(2);
        let one = first(&turns);
        let _two = first(&turns);
        let waiting = line(&turns, &["a"]);
        drop(one);
        assert_eq!(order(waiting), ["a"]);
    }
}
