//! `infinicache node`: a cache node, as `up` starts it.

use anyhow::Result;
use clap::Args;
use tokio::runtime::Builder;

use infinicache_daemon::signals;

use crate::{launcher, leash};

#[derive(Args)]
pub struct Node {
    #[command(flatten)]
    config: infinicache_node::Config,
}

impl Node {
    pub fn run(self) -> Result<()> {
        leash::put_on()?;
        launcher::take_name();
        // One thread, as in the node's own program: it serves one link.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { infinicache_node::run(self.config, signals::stop()?).await })
    }
}
