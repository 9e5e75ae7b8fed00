//! `infinicache get`: a value becomes a file.

use std::{ops::Range, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use infinicache_client::{Client, Download};
use infinicache_daemon::ByteSize;

use crate::{
    connect::{Key, Servers},
    destination::Destination,
    exit,
    pipe::Outlet,
    progress::Progress,
};

const EXAMPLES: &str = "  \
  infinicache get backup -o ./backup.tar
  infinicache get photos | tar x
  infinicache get model --range 0..4KiB | xxd";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Get {
    /// The key
    key: Key,

    /// The file; `-`, or none, is standard output
    ///
    /// A file is written beside its place and moved there when it is whole.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Only these bytes of the value, as far as it has them: 0..4KiB, 1MiB.., ..100
    #[arg(long, value_name = "START..END", value_parser = range, default_value = "..", hide_default_value = true)]
    range: Range<u64>,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    servers: Servers,
}

impl Get {
    pub fn run(self) -> Result<()> {
        let get = async |client: &Client| {
            let download = client.open_range(&self.key, self.range.clone()).await?;
            let label = format!("get {}", self.key);
            let progress = Progress::new(label, Some(download.size()), self.quiet);
            let destination = Destination::open(self.output.as_deref())?;
            write(download, &destination, &progress).await?;
            destination.complete()?;
            progress.finish();
            Ok(())
        };
        let what = || format!("cannot get {} from {}", self.key, self.servers);
        self.servers.run(get).with_context(what)
    }
}

async fn write(
    mut download: Download,
    destination: &Destination,
    progress: &Progress,
) -> Result<()> {
    let mut outlet = Outlet::new(destination.file()?)?;
    while let Some(piece) = download.next().await? {
        let length = piece.len();
        if !outlet.write(piece).await {
            break;
        }
        progress.advance(length);
    }
    outlet
        .finish()
        .await
        .map_err(|error| exit::unwritten(destination, error))
}

/// Reads `start..end`, either of which may be missing.
fn range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("START..END expected")?;
    let bound = |text: &str, missing: u64| match text {
        "" => Ok(missing),
        text => text
            .parse()
            .map(|ByteSize(bytes)| bytes)
            .map_err(|error| error.to_string()),
    };
    let (start, end) = (bound(start, 0)?, bound(end, u64::MAX)?);
    match start <= end {
        true => Ok(start..end),
        false => Err("the end is before the start".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_start_an_end_both_or_neither() {
        for (text, expected) in [
            ("0..10", 0..10),
            ("1KiB..1536KiB", 1 << 10..3 << 19),
            ("7..", 7..u64::MAX),
            ("..100", 0..100),
            ("..", 0..u64::MAX),
            ("5..5", 5..5),
        ] {
            assert_eq!(range(text), Ok(expected), "{text}");
        }
        for text in ["", "5", "5-7", "7..5", "a..b", "1..2..3", "-1..2"] {
            assert!(range(text).is_err(), "{text:?}");
        }
    }
}
