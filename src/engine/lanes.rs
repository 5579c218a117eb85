//! One work for many things on a few threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::{Error, Result};

/// Does something for each item, on at most so many threads, and gives what came of it in order. What a thread needs of its
/// own is made by `own`. The first failure sets `stop`, which ends the others after what they are at.
pub(super) fn in_lanes<S: Send, T: Sync, R: Send>(
    most: usize,
    items: &[T],
    stop: &AtomicBool,
    own: impl Fn() -> Result<S>,
    work: impl Fn(&S, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::default();
    let done: Mutex<Vec<(usize, R)>> = Mutex::default();
    let fail = |error| {
        // The first counts: others end because of it.
        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        stop.store(true, Ordering::Relaxed);
    };
    let lane = |own: Result<S>| {
        let run = || -> Result<()> {
            let own = own?;
            while !stop.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(place) else { break };
                let result = work(&own, item)?;
                done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
            }
            Ok(())
        };
        if let Err(error) = run() {
            fail(error);
        }
    };
    std::thread::scope(|scope| {
        let lane = &lane;
        for _ in 0..most.min(items.len()) {
            let own = own();
            let spawned = std::thread::Builder::new().name("lane".into()).spawn_scoped(scope, move || lane(own));
            if let Err(error) = spawned {
                fail(Error::from(error).context("starting a thread"));
            }
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_in_order_and_the_first_failure_is_told() {
        let items: Vec<u64> = (0..50).collect();
        let run = |work: &(dyn Fn(&u64) -> Result<u64> + Sync)| {
            in_lanes(3, &items, &AtomicBool::new(false), || Ok(()), |(), item| work(item))
        };
        assert_eq!(run(&|item| Ok(item * 2)).unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        let error = run(&|item| if *item < 7 { Ok(0) } else { Err(Error::failed("seven")) }).unwrap_err();
        assert_eq!(error.message(), "seven");
    }
}
