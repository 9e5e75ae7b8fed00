//! `infinicache put`: a file becomes the value of a key.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use infinicache_client::{Client, Condition, PutOptions};

use crate::{
    connect::{Key, Servers, time_span},
    exit::{self, Ending},
    pipe::{Intake, Whole},
    progress::Progress,
};

const EXAMPLES: &str = "  \
  infinicache put backup ./backup.tar
  infinicache put model ./model.bin --ttl 10m
  tar c photos | infinicache put photos - --nx";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Put {
    /// The key
    key: Key,

    /// The file; `-` is standard input
    file: PathBuf,

    /// How long the value lives: 90s, 10m, 2h; for ever if not told
    #[arg(long, value_name = "TIME", value_parser = time_span)]
    ttl: Option<Duration>,

    /// Only if the key has no value
    #[arg(long, conflicts_with = "xx")]
    nx: bool,

    /// Only if the key has a value
    #[arg(long)]
    xx: bool,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    servers: Servers,
}

impl Put {
    pub fn run(self) -> Result<()> {
        let input = || format!("cannot read {}", self.file.display());
        let (file, whole) = open(&self.file).with_context(input)?;
        let size = whole.map(|whole| whole.length);
        let put = async |client: &Client| {
            let progress = Progress::new(format!("put {}", self.key), size, self.quiet);
            let reader = progress.of(Intake::new(file, whole)?);
            match client
                .put_stream(&self.key, reader, size, self.options())
                .await?
            {
                Some(_) => progress.finish(),
                None if self.nx => return Err(Ending::Present.into()),
                None => return Err(Ending::Absent.into()),
            }
            Ok(())
        };
        let what = || format!("cannot put {} to {}", self.key, self.servers);
        self.servers.run(put).with_context(what)
    }

    fn options(&self) -> PutOptions {
        let condition = match (self.nx, self.xx) {
            (true, _) => Some(Condition::Absent),
            (_, true) => Some(Condition::Present),
            _ => None,
        };
        PutOptions {
            ttl: self.ttl,
            condition,
            ..PutOptions::default()
        }
    }
}

/// Opens a file, and finds out what it is, if it is a regular one.
fn open(path: &Path) -> Result<(File, Option<Whole>)> {
    if path == "-" {
        // Without the buffer of `Stdin`, which only copies.
        let file = io::stdin().as_fd().try_clone_to_owned()?.into();
        return Ok((file, None));
    }
    let file = File::open(path)?;
    ensure!(
        !file.metadata()?.is_dir(),
        io::Error::from(io::ErrorKind::IsADirectory)
    );
    let whole = Whole::of(&file)?;
    Ok((file, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_told_of_regular_files_only() {
        let (_, whole) = open(Path::new("Cargo.toml")).unwrap();
        assert!(whole.unwrap().length > 100);
        for path in ["-", "/dev/null", "/proc/version"] {
            assert!(matches!(open(Path::new(path)), Ok((_, None))), "{path}");
        }
        assert!(
            open(Path::new("/"))
                .unwrap_err()
                .to_string()
                .contains("directory")
        );
        assert!(open(Path::new("/nowhere")).is_err());
    }
}
