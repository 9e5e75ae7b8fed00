//! Connections accepted, no more at once than may be open.

use std::net::SocketAddr;

use infinicache_daemon::files;
use infinicache_host::task;
use infinicache_socket::{Listener, Stream};
use tokio::task::JoinSet;

/// How many of `most` connections a listener may have open that takes at most this fraction of the
/// files which the system lets the process have open.
pub(crate) fn affordable(most: usize, fraction: u64) -> usize {
    let limit = files::limit() / fraction;
    most.min(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Gives each connection of `listener` to `attend`, on a task of its own and at most `most` at
/// once, until dropped; the connections are dropped with it.
pub(crate) async fn accept_each<Attending>(
    listener: Listener,
    most: usize,
    attend: impl Fn(Stream, SocketAddr) -> Attending,
) where
    Attending: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= most {
            connections.join_next().await;
        }
        let (stream, peer) = infinicache_socket::accept(&listener).await;
        connections.spawn(task::scoped(attend(stream, peer)));
    }
}
