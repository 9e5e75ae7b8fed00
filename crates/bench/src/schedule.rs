//! When requests are due that are sent at a rate, whatever becomes of the others.
//!
//! The request number n is due n / rate after the start, and its time is counted
//! from then, not from when it could be sent. So a server that stands still for
//! a second has made every request late that was due in it: what a real
//! population of users would see, and what a generator hides that waits for an
//! answer before it asks again (*coordinated omission*).

use std::time::Duration;

/// The requests of one connection out of several that keep a rate together.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The next request, of all connections.
    next: u64,
    /// The first that is not to be sent any more.
    end: u64,
    connections: u64,
    rate: f64,
}

impl Schedule {
    /// The schedule of connection number `connection` of `connections`: together
    /// they send `rate` requests a second, `requests` in all.
    pub fn new(rate: f64, requests: u64, connection: u64, connections: u64) -> Self {
        Self {
            next: connection,
            end: requests,
            connections,
            rate,
        }
    }

    /// When the next request is due, from the start on; `None` after the last.
    pub fn next_due(&self) -> Option<Duration> {
        (self.next < self.end).then(|| Duration::from_secs_f64(self.next as f64 / self.rate))
    }

    /// Takes the next request, if it is due by `now`, and tells since when.
    pub fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.next_due().filter(|due| *due <= now)?;
        self.next += self.connections;
        Some(due)
    }

    /// How many requests are left.
    pub fn left(&self) -> u64 {
        self.end
            .saturating_sub(self.next)
            .div_ceil(self.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn connections_share_the_rate_evenly_and_out_of_step() {
        let mut due = Vec::new();
        for connection in 0..4 {
            let mut schedule = Schedule::new(1000.0, 10, connection, 4);
            let left = schedule.left();
            let before = due.len();
            while let Some(at) = schedule.take(Duration::MAX) {
                due.push(at);
            }
            assert_eq!((due.len() - before) as u64, left);
            assert_eq!(schedule.left(), 0);
        }
        due.sort_unstable();
        assert_eq!(due, (0..10).map(|n| MILLISECOND * n).collect::<Vec<_>>());
    }

    #[test]
    fn a_request_is_taken_when_it_is_due_and_not_before() {
        let mut schedule = Schedule::new(1000.0, 100, 1, 2);
        assert_eq!(schedule.take(Duration::ZERO), None);
        assert_eq!(schedule.next_due(), Some(MILLISECOND));
        assert_eq!(schedule.take(MILLISECOND), Some(MILLISECOND));
        assert_eq!(schedule.take(MILLISECOND), None);
    }

    #[test]
    fn after_a_pause_all_that_was_due_in_it_counts_from_when_it_was() {
        let mut schedule = Schedule::new(1000.0, 1000, 0, 1);
        let mut late = Vec::new();
        while let Some(due) = schedule.take(MILLISECOND * 500) {
            late.push(MILLISECOND * 500 - due);
        }
        assert_eq!(late.len(), 501);
        assert_eq!(late[0], MILLISECOND * 500);
        assert_eq!(late[250], MILLISECOND * 250);
        assert_eq!(late[500], Duration::ZERO);
    }
}
