//! Where the pool's secret comes from: a file, or a variable.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context, bail};
use clap::Args;
use infinicache_wire::Secret;

/// The flags that name the secret which proxy and nodes share.
#[derive(Args, Clone, Debug)]
pub struct SecretSource {
    /// File with the secret that the pool shares
    #[arg(long, env = "INFINICACHE_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// The secret itself. Best set by its variable, since command lines are not private
    #[arg(long, env = "INFINICACHE_SECRET", hide_env_values = true)]
    pub secret: Option<SecretText>,
}

impl SecretSource {
    /// The secret, from the one place that names it.
    ///
    /// # Errors
    ///
    /// If no place or both name one, if the file cannot be read, or the secret is too short.
    pub fn load(&self) -> anyhow::Result<Secret> {
        let bytes = match (&self.secret_file, &self.secret) {
            (None, None) => bail!("no secret: set INFINICACHE_SECRET_FILE or INFINICACHE_SECRET"),
            (Some(_), Some(_)) => bail!("both a secret file and a secret are set, one expected"),
            (None, Some(secret)) => secret.0.clone().into_bytes(),
            (Some(file), None) => std::fs::read(file)
                .with_context(|| format!("cannot read the secret file {}", file.display()))?,
        };
        Ok(Secret::new(&bytes)?)
    }
}

/// A secret as it was typed: parsed without a check, so that no error message repeats it, and never printed.
#[derive(Clone)]
pub struct SecretText(String);

impl FromStr for SecretText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        source: SecretSource,
    }

    fn source(flags: &[&str]) -> SecretSource {
        Flags::parse_from([&["test"], flags].concat()).source
    }

    #[test]
    fn exactly_one_place_names_the_secret() {
        assert!(source(&["--secret", SECRET]).load().is_ok());
        assert!(source(&[]).load().is_err());
        assert!(
            source(&["--secret", SECRET, "--secret-file", "/dev/null"])
                .load()
                .is_err()
        );
        let error = source(&["--secret-file", "/dev/null"])
            .load()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "secret of 0 bytes, at least 16 needed");
    }

    #[test]
    fn the_secret_is_never_printed() {
        assert!(!format!("{:?}", source(&["--secret", SECRET])).contains(SECRET));
    }
}
