//! How many files this process may have open, sockets included.
//!
//! Systems start processes with a low soft limit, commonly 1024, for the sake of programs that use
//! `select`. None of ours does, so they take what the hard limit lets them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; what it is then. Where the system refuses, it stays.
pub fn raise_limit() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    limit()
}

/// How many files may be open.
pub fn limit() -> u64 {
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    // There need not be any.
    current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = limit();
        let raised = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert!(raised >= before);
        assert_eq!(raised, limit());
    }
}
