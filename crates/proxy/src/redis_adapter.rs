//! The Redis adapter: joins the Redis commands to the cache, the counters and the
//! relay, none of which know each other.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use bytes::Bytes;
use infinicache_daemon::memory;
use infinicache_engine::{Error, ReadError, Source, Terms, Upload};
use infinicache_host::clock;
use infinicache_resp::{ConnectionParts, Timeouts};
use infinicache_socket::{ReadHalf, WriteHalf};
use infinicache_wire::control::{ControlCommand, NodeState};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    cache::{Cache, Closed, ObjectReader},
    command::{Answer, CommandRecord, CommandResult, ErrorReply, Observe, store},
    connection_resources::ConnectionResources,
    control,
    info::{ClientLimits, Figures},
    metadata::catalog::ObjectRef,
    metrics::Metrics,
    pool::Usable,
    relay,
    server::TakeOver,
};

impl store::Store for Cache {
    type Value = ObjectRef;
    type Stream = ObjectReader;
    type Upload = Upload<Self>;
    type Resources = ConnectionResources;

    async fn is_open(&self) -> Result<(), ErrorReply> {
        Self::is_open(self).map_err(|closed| match closed {
            Closed::Loading => ErrorReply::LOADING,
            Closed::OutOfTouch => ErrorReply::OUT_OF_TOUCH,
        })
    }

    fn now(&self) -> u64 {
        self.metadata().now_ms()
    }

    async fn stat(&self, key: &[u8]) -> Result<Option<store::ValueInfo>, Error> {
        let info = |ObjectRef(object): ObjectRef| store::ValueInfo {
            size: object.size(),
            expires_at: object.expiration().at_ms(),
        };
        Ok(self.find(key).map(info))
    }

    async fn len(&self) -> Result<u64, Error> {
        Ok(self.metadata().catalog.len() as u64)
    }

    async fn find(&self, key: &[u8]) -> Result<Option<ObjectRef>, Error> {
        Ok(Self::find(self, key))
    }

    fn at_hand(&self, found: &ObjectRef, range: Range<u64>) -> Option<Bytes> {
        Self::at_hand(self, found, range)
    }

    fn is_small(&self, size: u64) -> bool {
        Self::is_small(self, size)
    }

    async fn read(
        &self,
        found: &ObjectRef,
        range: Range<u64>,
    ) -> Result<Option<ObjectReader>, ReadError> {
        Self::read(self, found, range).await
    }

    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        terms: Terms,
    ) -> Result<store::SetOutcome<ObjectRef>, Error> {
        Self::put(self, key, value, &terms).await
    }

    async fn upload(
        &self,
        key: &[u8],
        size: u64,
        blind: bool,
        source: impl Source,
    ) -> Result<Upload<Self>, Error> {
        Self::upload(self, key, size, blind, source).await
    }

    async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        Self::delete(self, key).await
    }

    async fn set_expiry(&self, key: &[u8], at: Option<u64>) -> Result<bool, Error> {
        Self::set_expiry(self, key, at).await
    }

    async fn clear(&self) -> Result<(), Error> {
        Self::clear(self).await
    }

    fn no_resources(&self) -> ConnectionResources {
        ConnectionResources::nothing(self.clone())
    }

    async fn control(&self, owned: &mut ConnectionResources, command: ControlCommand) -> Answer {
        control::run(self, owned, command).await
    }
}

impl store::Resources for ConnectionResources {
    fn is_nothing(&mut self) -> bool {
        Self::is_nothing(self)
    }
}

impl store::StoredValue for ObjectRef {
    fn size(&self) -> u64 {
        self.0.size()
    }
}

impl store::ValueStream for ObjectReader {
    fn len(&self) -> u64 {
        Self::len(self)
    }

    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        Self::next(self).await
    }
}

impl store::Upload for Upload<Cache> {
    type Value = ObjectRef;

    async fn commit(self, terms: Terms) -> Result<store::SetOutcome<ObjectRef>, Error> {
        Self::commit(self, &terms).await
    }
}

/// Counts what Redis clients do.
pub(crate) struct RedisObserver {
    cache: Cache,
    since: Instant,
    port: u16,
    limits: ClientLimits,
    connections: AtomicU64,
    refused: AtomicU64,
    commands: AtomicU64,
    errors: AtomicU64,
}

impl RedisObserver {
    pub(crate) fn new(cache: Cache, port: u16, limits: ClientLimits) -> Self {
        Self {
            cache,
            since: clock::now(),
            port,
            limits,
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    fn metrics(&self) -> &Metrics {
        self.cache.metrics()
    }
}

impl Observe for RedisObserver {
    fn connection_opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.metrics().connections.inc();
    }

    fn connection_closed(&self) {
        self.metrics().connections.dec();
    }

    fn connection_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
        self.metrics().closed("too_many");
    }

    fn commands(&self, answered: &[CommandRecord]) {
        self.commands.fetch_add(answered.len() as u64, Relaxed);
        let errors = answered
            .iter()
            .filter(|it| it.result == CommandResult::Error);
        self.errors.fetch_add(errors.count() as u64, Relaxed);
        self.metrics().served().commands(answered);
    }

    fn aborted_reply(&self) {
        warn!("connection closed in the middle of a reply: its value could not be read on");
        self.metrics().closed("aborted_reply");
    }

    fn dropped(&self, reason: &'static str) {
        debug!(reason, "connection dropped");
        self.metrics().closed(reason);
    }

    fn figures(&self) -> Figures {
        let (metrics, catalog, nodes) = (
            self.metrics(),
            &self.cache.metadata().catalog,
            self.cache.nodes(),
        );
        let states = nodes.list().states();
        let count = |state: NodeState| states.iter().filter(|of_node| **of_node == state).count();
        let capacity = |usable: Usable| {
            let of_member = usable.member.map(|member| member.memory.capacity());
            of_member.unwrap_or(usable.capacity)
        };
        let (hits, misses) = metrics.served().reads();
        let (input, output) = metrics.served().value_bytes();
        Figures {
            uptime: (clock::now() - self.since),
            port: self.port,
            clients: u64::try_from(metrics.connections.get()).unwrap_or(0),
            limits: self.limits,
            connections_total: self.connections.load(Relaxed),
            connections_refused_total: self.refused.load(Relaxed),
            commands_total: self.commands.load(Relaxed),
            errors_total: self.errors.load(Relaxed),
            input_bytes_total: input,
            output_bytes_total: output,
            hits_total: hits,
            misses_total: misses,
            lost_total: metrics.removals("lost"),
            expired_total: metrics.removals("expired"),
            evicted_total: metrics.removals("evicted"),
            keys: catalog.len() as u64,
            expiring_keys: catalog.expiring() as u64,
            used_bytes: nodes
                .members()
                .all()
                .iter()
                .map(|member| member.memory.used())
                .sum(),
            capacity_bytes: nodes
                .availability()
                .usable()
                .into_iter()
                .map(capacity)
                .sum(),
            resident_bytes: memory::resident_bytes(),
            nodes: [
                NodeState::Active,
                NodeState::Asleep,
                NodeState::Waking,
                NodeState::Draining,
                NodeState::Lost,
            ]
            .map(|state| (state.as_str(), count(state) as u64))
            .to_vec(),
            loading: nodes.prepare_phase().is_recovering(),
        }
    }
}

/// Gives connections that sent `IC.LINK` to the relay.
#[derive(Clone)]
pub(crate) struct ToRelay {
    pub(crate) cache: Cache,
    pub(crate) timeouts: Timeouts,
}

impl TakeOver for ToRelay {
    async fn take_over(
        self,
        parts: ConnectionParts<ReadHalf, WriteHalf>,
        draining: CancellationToken,
    ) {
        let metrics = self.cache.metrics().clone();
        metrics.links.inc();
        let relaying = relay::serve(parts, self.cache, self.timeouts);
        let ended = draining.run_until_cancelled(relaying).await;
        if let Some(Err(error)) = ended {
            debug!(%error, "relayed link ended");
            if let Some(reason) = error.reason() {
                metrics.closed(reason);
            }
        }
        metrics.links.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::{store::Store, *};
    use crate::cache::fixture::OneNode;

    #[tokio::test]
    async fn what_the_cache_knows_is_told_without_a_wait() {
        let one = OneNode::new().await;
        let cache = &one.cache;
        assert!(Store::is_open(cache).now_or_never().is_some());
        assert_eq!(
            Store::stat(cache, b"k").now_or_never().unwrap().unwrap(),
            None
        );
        assert_eq!(Store::len(cache).now_or_never().unwrap().unwrap(), 0);
        let found = Store::find(cache, b"k").now_or_never().unwrap().unwrap();
        assert!(found.is_none());
    }

    #[tokio::test]
    async fn a_value_that_is_too_long_is_refused_in_one_text_by_whichever_way_it_comes() {
        let one = OneNode::new().await;
        let longest = one.cache.settings().max_object_bytes;
        let source = Bytes::new();
        let uploaded = one.cache.upload(b"k", longest + 1, true, source).await;
        let refused = uploaded
            .err()
            .map(|error| ErrorReply::from(error).into_frame());
        let text = "ERR string exceeds maximum allowed size (max-object-bytes)";
        let expected = redis_protocol::resp2::types::BytesFrame::Error(text.into());
        assert_eq!(refused, Some(expected));
        assert!(one.cache.writes().check_length(longest).is_ok());
    }
}
