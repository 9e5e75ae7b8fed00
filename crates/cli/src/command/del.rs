//! `infinicache del`: keys lose their values.

use anyhow::{Context, Result};
use clap::Args;
use infinicache_client::Client;

use crate::{
    connect::{Key, Servers},
    exit::{self, Ending},
};

const EXAMPLES: &str = "  \
  infinicache del backup
  infinicache del model-1 model-2 model-3";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Del {
    /// The keys; all are tried, even if one has no value
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<Key>,

    #[command(flatten)]
    servers: Servers,
}

impl Del {
    pub fn run(self) -> Result<()> {
        let delete = async |client: &Client| {
            let mut missing = Vec::new();
            for key in &self.keys {
                let deleted = client.delete(key).await.with_context(|| self.failed(key))?;
                if !deleted {
                    missing.push(key);
                }
            }
            // All but the last are reported here, the last by the caller.
            let Some((last, others)) = missing.split_last() else {
                return Ok(());
            };
            for key in others {
                exit::say(format_args!("{}: {}", self.failed(key), Ending::NoSuchKey));
            }
            Err(Ending::NoSuchKey).with_context(|| self.failed(last))
        };
        self.servers.run(delete)
    }

    fn failed(&self, key: &Key) -> String {
        format!("cannot delete {key} from {}", self.servers)
    }
}
