//! The ports of the process.

use std::net::SocketAddr;

use anyhow::Context;
use infinicache_socket::{Keepalive, Listener};

use crate::config::Config;

/// Ports that are bound, and not served yet.
pub(super) struct Ports {
    pub(super) redis: Listener,
    pub(super) nodes: Listener,
    pub(super) admin: Listener,
    /// `host:port` that nodes dial.
    pub(super) advertise: String,
}

impl Ports {
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let redis = bind(config.listen, Keepalive::after(config.tcp_keepalive)).await?;
        let nodes = bind(config.node_listen, Keepalive::PROMPT).await?;
        let admin = bind(config.admin_listen, Keepalive::PROMPT).await?;
        let advertise = match &config.advertise {
            Some(advertise) => advertise.clone(),
            None => nodes.local_addr()?.to_string(),
        };
        Ok(Self {
            redis,
            nodes,
            admin,
            advertise,
        })
    }
}

async fn bind(address: SocketAddr, keepalive: Keepalive) -> anyhow::Result<Listener> {
    infinicache_socket::listen(address, keepalive)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}
