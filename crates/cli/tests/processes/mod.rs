//! Processes of the system, as a test sees them.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time;

/// How long anything may take that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Ports from which the system does not give any to whoever wants any: a proxy
/// that is restarted finds its own still free.
const PORTS: (u32, u32) = (10_240, 32_000);

/// Sends a signal, unless the process is gone.
pub(crate) fn kill(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

/// Waits until a process runs no more.
pub(crate) async fn until_gone(pid: u64) {
    let give_up = Instant::now() + DEADLINE;
    while is_running(pid) {
        assert!(Instant::now() < give_up, "process {pid} is still there");
        time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs; one that is dead and not reaped does not.
///
/// A killed process shows as dead when its first thread is; the others may
/// still hold its sockets then.
pub(crate) fn is_running(pid: u64) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok())
        .any(|stat| {
            // The state follows the name, which is in parentheses and may contain some.
            let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
            !matches!(state, Some("Z" | "X"))
        })
}

/// Ports that nobody has, and that no other cache of these tests is given.
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let (first, end) = PORTS;
    // Processes that run at once mostly have ids that are near each other.
    let start = process::id().wrapping_mul(64);
    let mut free = (0..end - first).map_while(|_| {
        let number = start.wrapping_add(GIVEN.fetch_add(1, Relaxed));
        Some((first + number % (end - first)) as u16)
    });
    [(); N].map(|()| {
        free.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
            .expect("a free port")
    })
}
