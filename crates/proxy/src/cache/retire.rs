//! What was replaced or removed dies on the nodes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_client::NodeLink;
use infinicache_wire::{MemberId, Reply, Request};
use tokio::time;
use tracing::debug;

use super::Cache;
use crate::catalog::Object;

/// How long members may take to acknowledge that a chunk is dead.
const DELETE_DEADLINE: Duration = Duration::from_secs(1);

impl Cache {
    /// An object that was taken out of the catalog dies on its members. Returns when fewer
    /// than k chunks are left that could be taken for a value.
    pub(super) async fn retire(&self, object: &Arc<Object>, reason: &'static str) {
        object.retire();
        self.0.metrics.removed(reason);
        let now = Instant::now();
        let mut deleting = FuturesUnordered::new();
        for (index, member) in object.members().into_iter().enumerate() {
            let Some(id) = member.filter(|id| !self.0.health.is_slow(*id, now)) else {
                continue;
            };
            let Some(link) = self.0.nodes.link(id) else {
                continue;
            };
            let chunk = object.chunk(index);
            deleting.push(async move { (id, link.call(Request::Delete { chunk }).await) });
        }
        let enough = object
            .chunks_left()
            .saturating_sub(object.data() - 1)
            .min(deleting.len());
        let mut waiting: Vec<MemberId> = object.members().into_iter().flatten().collect();
        let acknowledged = async {
            let mut count = 0;
            while count < enough {
                let Some((id, reply)) = deleting.next().await else {
                    break;
                };
                waiting.retain(|member| *member != id);
                count += usize::from(matches!(reply, Reply::Done { .. }));
            }
        };
        if time::timeout(DELETE_DEADLINE, acknowledged).await.is_err() {
            debug!(?object, "members do not acknowledge a delete");
            waiting
                .into_iter()
                .for_each(|member| self.0.health.was_late(member, Instant::now()));
        }
    }
}
