//! Peers that vanish without a word: a host that was switched off, a network that forgot them.
//!
//! A connection on which nothing is sent would stay open for ever, and one with
//! bytes under way for as long as the system repeats them, a quarter of an hour.

use std::{os::fd::AsFd, time::Duration};

use rustix::{io, net::sockopt};
use tracing::debug;

/// How many probes may be lost.
const PROBES: u32 = 3;

/// The shortest and the longest silence that systems take, in seconds.
const SECONDS: (u64, u64) = (1, 32_767);

/// After how long a silence the system probes whether a peer is still there.
///
/// It probes three times, at intervals of a third of that; so a peer that is
/// gone is dropped after twice the silence. One that does not acknowledge what
/// it was sent is dropped after as long, since no probes are sent then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive(Option<Duration>);

impl Keepalive {
    /// For links between the parts of the cache, which soon matter: 15 seconds.
    pub const PROMPT: Self = Self(Some(Duration::from_secs(15)));

    /// After `silence`; never, if that is zero.
    pub const fn after(silence: Duration) -> Self {
        match silence.is_zero() {
            true => Self(None),
            false => Self(Some(silence)),
        }
    }

    /// Has a socket, and what it accepts if it listens, kept alive like this.
    pub(crate) fn apply(self, socket: &impl AsFd) {
        let Self(Some(silence)) = self else { return };
        if let Err(error) = keep_alive(socket, silence) {
            debug!(%error, "the system keeps no connection alive");
        }
    }
}

fn keep_alive(socket: &impl AsFd, silence: Duration) -> io::Result<()> {
    let (least, most) = SECONDS;
    let bounded = |seconds: u64| Duration::from_secs(seconds.clamp(least, most));
    let idle = bounded(silence.as_secs());
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, bounded(idle.as_secs() / u64::from(PROBES)))?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, 2_000 * idle.as_secs() as u32)?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpSocket;

    use super::*;
    use crate::{connect, listen};

    fn local() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    /// Idle time and interval in seconds, probes, and user time-out in milliseconds.
    fn kept_alive(socket: &impl AsFd) -> Option<(u64, u64, u32, u32)> {
        sockopt::socket_keepalive(socket).unwrap().then(|| {
            (
                sockopt::tcp_keepidle(socket).unwrap().as_secs(),
                sockopt::tcp_keepintvl(socket).unwrap().as_secs(),
                sockopt::tcp_keepcnt(socket).unwrap(),
                sockopt::tcp_user_timeout(socket).unwrap(),
            )
        })
    }

    #[tokio::test]
    async fn a_peer_that_vanishes_is_noticed_on_either_side() {
        let keepalive = Keepalive::after(Duration::from_secs(300));
        let listener = listen(local(), keepalive).await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let dialling = connect(&name, Keepalive::PROMPT, |_| Ok(()));
        let (dialled, accepted) = tokio::join!(dialling, listener.accept());
        let (accepted, _) = accepted.unwrap();
        assert_eq!(kept_alive(&accepted), Some((300, 100, 3, 600_000)));
        assert_eq!(kept_alive(&dialled.unwrap()), Some((15, 5, 3, 30_000)));
    }

    #[tokio::test]
    async fn no_silence_is_too_long_if_none_is_given() {
        let keepalive = Keepalive::after(Duration::ZERO);
        let listener = listen(local(), keepalive).await.unwrap();
        assert_eq!(kept_alive(&listener), None);
    }

    #[test]
    fn a_silence_that_systems_do_not_take_is_the_nearest_that_they_take() {
        for (silence, expected) in [
            (Duration::from_millis(1), (1, 1, 3, 2_000)),
            (
                Duration::from_secs(1_000_000),
                (32_767, 10_922, 3, 65_534_000),
            ),
        ] {
            let socket = TcpSocket::new_v4().unwrap();
            Keepalive::after(silence).apply(&socket);
            assert_eq!(kept_alive(&socket), Some(expected), "{silence:?}");
        }
    }
}
