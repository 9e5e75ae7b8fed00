//! `infinicache proxy`: the proxy, as `up` starts it.

use anyhow::Result;
use clap::Args;
use tokio::runtime::Builder;

use infinicache_daemon::signals;

use crate::{launcher, leash};

#[derive(Args)]
pub struct Proxy {
    #[command(flatten)]
    config: infinicache_proxy::Config,
}

impl Proxy {
    pub fn run(self) -> Result<()> {
        leash::put_on()?;
        launcher::take_name();
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async { infinicache_proxy::run(self.config, signals::stop()?).await })
    }
}
