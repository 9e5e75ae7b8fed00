//! How much memory the process has.

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

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_resident() {
        assert!(super::resident_bytes() > 0);
    }
}
