//! The end of a cache: in good order, and nothing is left behind.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::Cluster;
use crate::processes::{is_running, kill};

/// How long the end may take: more than all graces of `up` together.
const FAREWELL: Duration = Duration::from_secs(20);

/// How much of the log is shown if the test failed.
const LAST_LINES: usize = 200;

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = thread::panicking();
        if failed {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            println!("{} of {} lines logged:", last.len(), lines.len());
            last.iter().for_each(|line| println!("{line}"));
        }
        let _ = fs::remove_file(&self.log);
        // Gone already, if it was reaped.
        let Some(up) = self.up.id().map(u64::from) else {
            return;
        };
        kill(up, Signal::TERM);
        let ended = within(FAREWELL, || {
            self.up.try_wait().is_ok_and(|status| status.is_some())
        });
        let left = within(Duration::from_secs(1), || children(up).is_empty());
        let left = if left { Vec::new() } else { children(up) };
        left.iter().for_each(|pid| kill(*pid, Signal::KILL));
        if !failed {
            assert!(ended, "the cache does not end");
            assert!(left.is_empty(), "processes are left behind: {left:?}");
        }
    }
}

/// Whether something is so, or becomes so in time.
fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + limit;
    while !is_so() {
        if Instant::now() >= give_up {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The processes that this one started on its leash and that run.
fn children(up: u64) -> Vec<u64> {
    let mark = format!("{}={up}", infinicache::leash::PARENT);
    let is_child = |pid: &u64| {
        // Not to be read: not ours, or gone.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_child(pid) && is_running(*pid))
        .collect()
}
