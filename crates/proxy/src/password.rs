//! The password of Redis clients, if they need one.
//!
//! Like the pool's secret it is read from a file again and again. Who has given it
//! once stays in, as with Redis; who comes next has to give the new one. What is
//! kept is not the password but a proof of it, under a random key.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use infinicache_daemon::read_secret_file;
use infinicache_host::{random, task};
use infinicache_wire::Secret;
use tokio::time;
use tracing::{info, warn};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// What keeps proofs of passwords apart from any others.
const PURPOSE: &str = "password";

/// The flag that names the password of clients.
#[derive(Args, Clone, Debug)]
pub struct PasswordSource {
    /// File with the password that Redis clients need; read anew when it changes. Without such a file they need none
    #[arg(long, env = "INFINICACHE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// Reads the password.
    ///
    /// # Errors
    ///
    /// If there is a file that cannot be read, or holds nothing.
    pub(crate) fn load(&self) -> anyhow::Result<Password> {
        let password = Password::new()?;
        match &self.password_file {
            Some(file) if refresh(file, &password)? => {}
            Some(file) => warn!(file = %file.display(), "no such file: clients need no password"),
            None => {}
        }
        Ok(password)
    }

    /// Keeps a password as its file is, for ever.
    ///
    /// One that was needed stays so, whatever becomes of the file.
    pub(crate) async fn follow(self, password: Password) {
        let Some(file) = self.password_file else {
            return std::future::pending().await;
        };
        let mut told = String::new();
        loop {
            time::sleep(EVERY).await;
            let (file, password) = (file.clone(), password.clone());
            let refreshed = task::spawn_blocking(move || refresh(&file, &password)).await;
            match refreshed.map_err(anyhow::Error::from).flatten() {
                Ok(true) => info!("the clients' password has changed"),
                Ok(false) => {}
                Err(error) => {
                    let text = format!("{error:#}");
                    if told != text {
                        warn!(error = text, "the clients' password stays as it is");
                        told = text;
                    }
                }
            }
        }
    }
}

/// Takes over what is in the file; whether that is anything new.
fn refresh(file: &Path, password: &Password) -> anyhow::Result<bool> {
    let bytes = match read_secret_file(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            let file = file.display();
            return Err(error).with_context(|| format!("cannot read the password file {file}"));
        }
    };
    let bytes = bytes.trim_ascii_end();
    ensure!(!bytes.is_empty(), "the password file is empty");
    Ok(password.set(bytes))
}

/// The password that clients need, if they need one. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Password {
    key: Secret,
    proof: Arc<RwLock<Option<String>>>,
}

impl Password {
    /// None is needed yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut key = [0; 32];
        random::fill(&mut key).context("no source of random numbers")?;
        // White space around a secret is not part of it, so it is given in digits.
        let digits = key.map(|byte| format!("{byte:02x}")).concat();
        Ok(Self {
            key: Secret::new(digits.as_bytes())?,
            proof: Arc::default(),
        })
    }

    /// From now on `password` is needed; whether it was not before.
    pub(crate) fn set(&self, password: &[u8]) -> bool {
        let is_new = !self.is_needed() || !self.fits(password);
        let proof = self.key.prove(PURPOSE, &[password]);
        *self.proof.write().unwrap_or_else(PoisonError::into_inner) = Some(proof);
        is_new
    }

    /// Whether clients need one.
    pub(crate) fn is_needed(&self) -> bool {
        let proof = self.proof.read();
        proof.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether it is this one, or none is needed; in constant time.
    pub(crate) fn fits(&self, password: &[u8]) -> bool {
        self.proof()
            .is_none_or(|proof| self.key.verify(PURPOSE, &[password], &proof))
    }

    fn proof(&self) -> Option<String> {
        let proof = self.proof.read();
        proof.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_one_any_fits_and_with_one_no_other() {
        let password = Password::new().unwrap();
        assert!(!password.is_needed() && password.fits(b"x"));
        assert!(password.set(b"hunter2"));
        assert!(!password.set(b"hunter2"));
        assert!(password.is_needed() && password.fits(b"hunter2"));
        assert!(!password.fits(b"hunter3") && !password.fits(b""));
        assert!(password.set(b"hunter3"));
        assert!(password.fits(b"hunter3") && !password.fits(b"hunter2"));
        assert!(!format!("{password:?}").contains("hunter"));
    }

    #[test]
    fn a_password_that_was_needed_stays_so() {
        let name = format!("infinicache-password-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let source = PasswordSource {
            password_file: Some(file.clone()),
        };
        let _ = std::fs::remove_file(&file);
        assert!(!source.load().unwrap().is_needed());
        std::fs::write(&file, "hunter2\n").unwrap();
        let password = source.load().unwrap();
        assert!(password.is_needed() && password.fits(b"hunter2"));
        std::fs::write(&file, "\n").unwrap();
        assert!(source.load().is_err() && refresh(&file, &password).is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(!refresh(&file, &password).unwrap());
        assert!(password.fits(b"hunter2") && !password.fits(b""));
    }
}
