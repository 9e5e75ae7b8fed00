//! `infinicache doctor` of a build without Kubernetes.

use anyhow::{Result, bail};
use clap::Args;

#[derive(Args)]
pub struct Doctor {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

impl Doctor {
    pub fn run(self) -> Result<()> {
        bail!("this is a build without Kubernetes: build it with `--features kubernetes`")
    }
}
