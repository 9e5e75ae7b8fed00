//! How long the sessions of nodes last, as it is configured for what the platform bills.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use infinicache_daemon::parse_duration;
use infinicache_wire::wake::Lifetimes;

/// The sessions that wakes begin.
#[derive(Args, Clone, Debug)]
pub struct SessionOptions {
    /// Have nodes hold the response to a wake open until their session is over
    ///
    /// For platforms that bill, or keep a process, for as long as a request takes.
    #[arg(long, env = "INFINICACHE_HOLD_WAKES")]
    pub hold_wakes: bool,

    /// What the platform bills as a whole; 0 if it does not: sessions end shortly before the end of one
    #[arg(long, env = "INFINICACHE_BILLING_CYCLE", default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    pub billing_cycle: Duration,

    /// For how long each request that a node serves is a reason for its session to go on
    #[arg(long, env = "INFINICACHE_SESSION_EXTENSION", default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    pub session_extension: Duration,

    /// How long before the end of a billing cycle a session ends
    #[arg(long, env = "INFINICACHE_SESSION_GUARD", default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    pub session_guard: Duration,

    /// Longest session: less than the platform lets a request take (Knative's timeoutSeconds, 300 s)
    #[arg(long, env = "INFINICACHE_SESSION_MAXIMUM", default_value = "270s", value_parser = parse_duration, value_name = "DURATION")]
    pub session_maximum: Duration,
}

impl SessionOptions {
    /// What wakes say of it.
    ///
    /// # Errors
    ///
    /// If no session could be like that.
    pub(crate) fn lifetimes(&self) -> anyhow::Result<Lifetimes> {
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let lifetimes = Lifetimes {
            held: self.hold_wakes,
            cycle_ms: millis(self.billing_cycle),
            extension_ms: millis(self.session_extension),
            guard_ms: millis(self.session_guard),
            maximum_ms: millis(self.session_maximum),
        };
        lifetimes
            .check()
            .with_context(|| format!("sessions cannot be like this: {self:?}"))?;
        Ok(lifetimes)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        sessions: SessionOptions,
    }

    fn lifetimes(flags: &[&str]) -> anyhow::Result<Lifetimes> {
        let flags = Flags::parse_from(std::iter::once(&"proxy").chain(flags));
        flags.sessions.lifetimes()
    }

    #[test]
    fn sessions_are_unlimited_but_for_their_maximum_unless_it_is_said_otherwise() {
        assert_eq!(lifetimes(&[]).unwrap(), Lifetimes::default());
    }

    #[test]
    fn what_is_configured_is_what_wakes_say() {
        let flags = [
            "--hold-wakes",
            "--billing-cycle=1m",
            "--session-extension=5s",
            "--session-guard=1500ms",
            "--session-maximum=280s",
        ];
        let expected = Lifetimes {
            held: true,
            cycle_ms: 60_000,
            extension_ms: 5_000,
            guard_ms: 1_500,
            maximum_ms: 280_000,
        };
        assert_eq!(lifetimes(&flags).unwrap(), expected);
    }

    #[test]
    fn sessions_that_cannot_be_are_refused() {
        for flag in [
            "--session-maximum=0s",
            "--session-maximum=2h",
            "--session-guard=1s",
            "--billing-cycle=10m",
            "--session-extension=10m",
        ] {
            assert!(lifetimes(&[flag]).is_err(), "{flag}");
        }
    }
}
