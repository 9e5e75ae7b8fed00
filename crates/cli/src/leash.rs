//! The leash: a child that wears it dies with the process that started it.
//!
//! An orderly `up` stops its children itself. This is for the other ends: a
//! SIGKILL, an abort, the OOM killer. On Linux the kernel is asked to send
//! SIGKILL to the child at the death of its parent, which takes even a stopped
//! process. Elsewhere a thread looks who the parent is, once a second.
//!
//! What counts as the parent is the *thread* that started the child. Children on
//! a leash are started from a thread that lives as long as the process: `up` runs
//! everything on its main thread.

use std::{env, process};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, getppid};

/// Tells a child who its parent is, and by being there, that it is on a leash.
pub const PARENT: &str = "INFINICACHE_PARENT";

/// What the parent puts into the environment of a child.
pub fn parent() -> (&'static str, String) {
    (PARENT, process::id().to_string())
}

/// Puts the leash on this process, if its environment says so.
///
/// # Errors
///
/// If the parent has died already, or the system refuses.
pub fn put_on() -> Result<()> {
    let Some(parent) = env::var_os(PARENT) else {
        return Ok(());
    };
    let parent = parent
        .to_str()
        .and_then(|pid| Pid::from_raw(pid.parse().ok()?))
        .with_context(|| format!("{PARENT} is no process id: {parent:?}"))?;
    die_with(parent)?;
    // A parent that died before the leash was on has signalled no child.
    if getppid() != Some(parent) {
        bail!("the parent process {parent:?} is gone");
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with(_parent: Pid) -> Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot tie this process to its parent")
}

#[cfg(not(target_os = "linux"))]
fn die_with(parent: Pid) -> Result<()> {
    use std::{thread, time::Duration};
    thread::Builder::new()
        .name("leash".into())
        .spawn(move || {
            while getppid() == Some(parent) {
                thread::sleep(Duration::from_secs(1));
            }
            process::exit(1);
        })
        .context("cannot tie this process to its parent")?;
    Ok(())
}
