//! `infinicache doctor`: what is wrong with a cache on a cluster.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use clap::Args;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    doctor::{Finding, Level, Place, check, examine, sum_up},
    exit,
};

const EXAMPLES: &str = "  \
  infinicache doctor
  infinicache doctor --namespace cache --context production
  infinicache doctor --json | jq '.[] | select(.level == \"bad\")'

It looks, and changes nothing but this: within the cluster it wakes each node
without the secret, which has to be refused. Exit status 1 says that something
is bad.";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Doctor {
    /// The namespace of the pool
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "infinicache",
        value_name = "NAME"
    )]
    namespace: String,

    /// The labels of the nodes' Services
    #[arg(
        long,
        env = "INFINICACHE_SELECTOR",
        default_value = "infinicache.io/pool=default",
        value_name = "LABELS"
    )]
    selector: String,

    /// The name of the proxy's Deployment and of the Secret
    #[arg(long, default_value = "infinicache", value_name = "NAME")]
    name: String,

    /// Which context of the kubeconfig; the current one, if not given
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Wake no nodes
    #[arg(long)]
    no_wake: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let findings = runtime.block_on(self.findings())?;
        // A program wants to find each node; a reader wants to know what is wrong.
        let findings = if self.json {
            exit::print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
            findings
        } else {
            let findings = sum_up(findings);
            exit::print(&text(&findings))?;
            findings
        };
        match count(&findings, Level::Bad) {
            0 => Ok(()),
            1 => bail!("1 thing is bad"),
            bad => bail!("{bad} things are bad"),
        }
    }

    async fn findings(&self) -> Result<Vec<Finding>> {
        let (config, inside) = self.config().await?;
        let client = Client::try_from(config).context("unusable Kubernetes configuration")?;
        let place = Place {
            namespace: self.namespace.clone(),
            selector: self.selector.clone(),
            name: self.name.clone(),
            inside,
            wakes: !self.no_wake,
        };
        Ok(check(&examine(&client, &place).await))
    }

    /// How the API is reached, and whether from within the cluster.
    async fn config(&self) -> Result<(Config, bool)> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let outside = async { Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await };
        match outside.await {
            Ok(config) => Ok((config, false)),
            Err(error) if self.context.is_some() => Err(error).context("no such context"),
            Err(error) => match Config::incluster() {
                Ok(config) => Ok((config, true)),
                Err(_) => Err(error).context("neither in a pod nor with a usable kubeconfig"),
            },
        }
    }
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|it| it.level == level).count()
}

/// A line for each finding, and one below it for what to do.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            subject,
            level,
            found,
            advice,
        } = finding;
        let _ = writeln!(text, "{:8}  {subject}: {found}", level.as_str());
        if !advice.is_empty() {
            let _ = writeln!(text, "{:8}  > {advice}", "");
        }
    }
    let levels = [Level::Good, Level::Unknown, Level::Doubtful, Level::Bad];
    let counts = levels.map(|level| format!("{} {}", count(findings, level), level.as_str()));
    let _ = writeln!(text, "\n{}", counts.join(", "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_what_to_do_another() {
        let findings = [
            Finding::good("kubernetes", "v1.32.1"),
            Finding::bad("ingress", "none is chosen", "choose one"),
        ];
        let expected = "good      kubernetes: v1.32.1\n\
                        bad       ingress: none is chosen\n          > choose one\n\
                        \n1 good, 0 unknown, 0 doubtful, 1 bad\n";
        assert_eq!(text(&findings), expected);
    }
}
