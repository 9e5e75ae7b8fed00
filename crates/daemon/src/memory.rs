//! How much memory the process has, and how much it may have.

use std::{path::Path, time::Duration};

use tikv_jemalloc_ctl::{Access, AsName, Mib, background_thread};
use tracing::warn;

/// How long memory that was freed is kept to be used again.
///
/// Long enough that what a busy process frees and takes all the time costs no page fault.
const DECAY: Duration = Duration::from_secs(2);

/// Where the system shows a container its own control group.
const CONTROL_GROUP: &str = "/sys/fs/cgroup";

/// Control groups without a limit show a number beyond any machine's memory.
const UNLIMITED: u64 = 1 << 60;

/// Has the allocator give memory back to the system a while after it was freed, also while nothing
/// is allocated. For programs whose allocator is jemalloc; no others are harmed.
pub fn decay() {
    // Without the thread, memory is given back by those who go on allocating.
    if let Err(error) = background_thread::write(true).and_then(|()| decay_after(DECAY)) {
        warn!(%error, "freed memory may be given back late");
    }
}

fn decay_after(time: Duration) -> tikv_jemalloc_ctl::Result<()> {
    let time = time.as_millis() as isize;
    b"arenas.dirty_decay_ms\0".name().write(time)?;
    // That is for arenas to come; there is one for each thread that has allocated, up to a number.
    let arenas: u32 = b"arenas.narenas\0".name().read()?;
    let mut decay: Mib<[usize; 3]> = b"arena.0.dirty_decay_ms\0".name().mib()?;
    for arena in 0..arenas as usize {
        decay[1] = arena;
        // An error says that it is one to come.
        let _ = decay.write(time);
    }
    Ok(())
}

/// Resident bytes of this process; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    // The second number of `statm`, in pages; there is none but on Linux.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Bytes that the container of this process may have; `None` if it is in none, or has no limit.
pub fn container_limit() -> Option<u64> {
    limit_of(Path::new(CONTROL_GROUP))
}

/// The limit of the group that is mounted at `root`, by version 2 or version 1 of the interface.
fn limit_of(root: &Path) -> Option<u64> {
    ["memory.max", "memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|file| std::fs::read_to_string(root.join(file)).ok())
        // Version 2 writes `max` where there is none.
        .and_then(|limit| limit.trim().parse().ok())
        .filter(|limit| *limit < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_limit_of_a_container_is_read_as_either_version_shows_it() {
        let root = std::env::temp_dir().join(format!("infinicache-limit-{}", std::process::id()));
        fs::create_dir_all(root.join("memory")).unwrap();
        assert_eq!(limit_of(&root), None);
        for (file, text, limit) in [
            (
                "memory/memory.limit_in_bytes",
                "268435456\n",
                Some(256 << 20),
            ),
            (
                "memory/memory.limit_in_bytes",
                "9223372036854771712\n",
                None,
            ),
            ("memory.max", "134217728\n", Some(128 << 20)),
            ("memory.max", "max\n", None),
        ] {
            fs::write(root.join(file), text).unwrap();
            assert_eq!(limit_of(&root), limit, "{file}: {text}");
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_allocator_can_be_told_when_to_give_memory_back() {
        decay_after(Duration::from_millis(1234)).unwrap();
        for name in [&b"arenas.dirty_decay_ms\0"[..], b"arena.0.dirty_decay_ms\0"] {
            let time: isize = name.name().read().unwrap();
            assert_eq!(time, 1234);
        }
        background_thread::write(true).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_resident() {
        assert!(resident_bytes() > 0);
    }
}
