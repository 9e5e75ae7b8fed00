//! Where the pool's secret comes from: a file, or a variable.
//!
//! A file is looked at again and again, so that a secret can be rotated and nobody
//! has to be restarted. Files are read rather than watched: Kubernetes changes the
//! files of a Secret by turning a symbolic link above them, of which a watch of the
//! file itself hears nothing.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use infinicache_host::task;
use infinicache_wire::Secret;
use tokio::time;
use tracing::{info, warn};

/// How often files of secrets are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Most bytes of such a file.
const MOST: u64 = 64 * 1024;

/// What the name of the file with the previous secret ends with.
const PREVIOUS: &str = "-previous";

/// The flags that name the secret which proxy and nodes share.
#[derive(Args, Clone, Debug)]
pub struct SecretSource {
    /// File with the secret that the pool shares; it is read anew when it changes, and what is in FILE-previous is accepted too
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
        match (&self.secret_file, &self.secret) {
            (None, None) => bail!("no secret: set INFINICACHE_SECRET_FILE or INFINICACHE_SECRET"),
            (Some(_), Some(_)) => bail!("both a secret file and a secret are set, one expected"),
            (None, Some(secret)) => Ok(Secret::new(secret.0.as_bytes())?),
            (Some(file), None) => {
                let (current, previous) = read_both(file)?;
                let secret = Secret::new(&current)?;
                secret.rotate(&current, previous.as_deref())?;
                Ok(secret)
            }
        }
    }

    /// Keeps a secret that was [loaded](Self::load) as its files are, for ever.
    ///
    /// What cannot be read or used is logged once, and changes nothing.
    pub async fn follow(self, secret: Secret) {
        let Some(file) = self.secret_file else {
            return std::future::pending().await;
        };
        let mut told = String::new();
        loop {
            time::sleep(EVERY).await;
            let (file, secret) = (file.clone(), secret.clone());
            let refreshed = task::spawn_blocking(move || refresh(&file, &secret)).await;
            match refreshed.map_err(anyhow::Error::from).flatten() {
                Ok(is_other) => {
                    told.clear();
                    if is_other {
                        info!("the pool's secret has changed");
                    }
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    if told != text {
                        warn!(error = text, "the pool's secret stays as it is");
                        told = text;
                    }
                }
            }
        }
    }
}

/// Takes over what is in the files of a secret; whether that is anything new.
fn refresh(file: &Path, secret: &Secret) -> anyhow::Result<bool> {
    let (current, previous) = read_both(file)?;
    Ok(secret.rotate(&current, previous.as_deref())?)
}

/// The secret, and the one before it if there is one.
///
/// In this order: if both change in between, the old one is read twice, which does no harm.
fn read_both(file: &Path) -> anyhow::Result<(Vec<u8>, Option<Vec<u8>>)> {
    let context = |file: &Path| format!("cannot read the secret file {}", file.display());
    let current = read_secret_file(file).with_context(|| context(file))?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(PREVIOUS);
    let beside = PathBuf::from(beside);
    match read_secret_file(&beside) {
        Ok(previous) => Ok((current, Some(previous))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((current, None)),
        Err(error) => Err(error).with_context(|| context(&beside)),
    }
}

/// Reads a file that holds a secret.
///
/// # Errors
///
/// If it cannot be read, or is much too large for one.
pub fn read_secret_file(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MOST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST {
        true => Err(io::Error::other("too large for a secret")),
        false => Ok(bytes),
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

    /// A directory that is gone when this is.
    struct Volume(PathBuf);

    impl Volume {
        /// The files of a Secret as Kubernetes mounts them, below a link that it turns.
        fn new(name: &str) -> Self {
            let id = std::process::id();
            let path = std::env::temp_dir().join(format!("infinicache-{name}-{id}"));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn turn(&self, generation: &str, files: &[(&str, &str)]) {
            let data = self.0.join(generation);
            std::fs::create_dir_all(&data).unwrap();
            for (name, text) in files {
                std::fs::write(data.join(name), text).unwrap();
                let _ = std::os::unix::fs::symlink(format!("data/{name}"), self.0.join(name));
            }
            let fresh = self.0.join("fresh");
            std::os::unix::fs::symlink(generation, &fresh).unwrap();
            std::fs::rename(fresh, self.0.join("data")).unwrap();
        }

        fn source(&self) -> SecretSource {
            let file = self.0.join("pool-secret");
            source(&["--secret-file", file.to_str().unwrap()])
        }
    }

    impl Drop for Volume {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const NEXT: &str = "fedcba9876543210";

    fn believes(secret: &Secret, other: &str) -> bool {
        let proof = Secret::new(other.as_bytes()).unwrap().prove("p", &[]);
        secret.verify("p", &[], &proof)
    }

    #[test]
    fn a_secret_follows_the_files_of_a_mounted_volume() {
        let volume = Volume::new("rotation");
        volume.turn("one", &[("pool-secret", SECRET)]);
        let source = volume.source();
        let (file, secret) = (source.secret_file.clone().unwrap(), source.load().unwrap());
        assert!(!refresh(&file, &secret).unwrap());

        volume.turn(
            "two",
            &[("pool-secret", NEXT), ("pool-secret-previous", SECRET)],
        );
        assert!(refresh(&file, &secret).unwrap());
        assert!(believes(&secret, NEXT) && believes(&secret, SECRET));
        assert!(
            believes(&source.load().unwrap(), SECRET),
            "a process that starts now"
        );

        volume.turn("three", &[("pool-secret", NEXT)]);
        assert!(refresh(&file, &secret).unwrap());
        assert!(believes(&secret, NEXT) && !believes(&secret, SECRET));
    }

    #[test]
    fn files_that_cannot_be_used_change_nothing() {
        let volume = Volume::new("unusable");
        volume.turn("one", &[("pool-secret", SECRET)]);
        let source = volume.source();
        let (file, secret) = (source.secret_file.clone().unwrap(), source.load().unwrap());
        volume.turn("two", &[("pool-secret", "short")]);
        let told = refresh(&file, &secret).unwrap_err().to_string();
        assert_eq!(told, "secret of 5 bytes, at least 16 needed");
        volume.turn("three", &[("pool-secret", &"x".repeat(1 << 20))]);
        assert!(refresh(&file, &secret).is_err());
        std::fs::remove_file(volume.0.join("data")).unwrap();
        assert!(refresh(&file, &secret).is_err());
        assert!(believes(&secret, SECRET));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_is_noticed_by_whoever_follows_it() {
        let volume = Volume::new("following");
        volume.turn("one", &[("pool-secret", SECRET)]);
        let source = volume.source();
        let secret = source.load().unwrap();
        let following = tokio::spawn(source.follow(secret.clone()));
        volume.turn("two", &[("pool-secret", NEXT)]);
        let noticed = async {
            while !believes(&secret, NEXT) {
                time::sleep(EVERY).await;
            }
        };
        // Of a paused clock: an hour of it is a moment.
        time::timeout(Duration::from_hours(1), noticed)
            .await
            .unwrap();
        following.abort();
    }
}
