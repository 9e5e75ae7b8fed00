//! How much memory a target says that it uses.

use std::time::Duration;

use serde::Serialize;
use tokio::time;

use crate::{request::Failure, resp::connection::RespConnection, target::Target};

/// What `INFO memory` tells, in bytes. What it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What values take: of Redis all that it has allocated, of ours what the nodes hold.
    pub used: Option<u64>,
    /// What the process that answers keeps in memory.
    pub resident: Option<u64>,
}

impl Memory {
    /// Asks a target.
    ///
    /// # Errors
    ///
    /// If it does not answer in time, or does not tell.
    pub async fn of(target: &Target, timeout: Duration) -> Result<Self, Failure> {
        let address = match target {
            Target::Redis(address) => address,
            Target::Infinicache(addresses) => addresses.first().ok_or(Failure::Protocol)?,
        };
        let asking = async {
            let mut connection = RespConnection::open(address).await?;
            connection.info("memory").await
        };
        let told = time::timeout(timeout, asking).await;
        Ok(Self::read(&told.map_err(|_| Failure::TimedOut)??))
    }

    fn read(told: &str) -> Self {
        let number = |wanted: &str| {
            let lines = told.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter_map(|(name, value)| (name == wanted).then_some(value));
            values.next()?.trim().parse().ok()
        };
        Self {
            used: number("used_memory"),
            resident: number("used_memory_rss"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_what_is_not_is_left_out() {
        let told =
            "# Memory\r\nused_memory:1024\r\nused_memory_human:1K\r\nused_memory_rss:4096\r\n";
        let memory = Memory {
            used: Some(1024),
            resident: Some(4096),
        };
        assert_eq!(Memory::read(told), memory);
        assert_eq!(Memory::read("used_memory:x\r\n:\r\n"), Memory::default());
    }
}
