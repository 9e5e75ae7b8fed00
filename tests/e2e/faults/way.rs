//! One operation, as either kind of client does it, and what its answer says.

use infinicache_client::{Client, Condition, Error, PutOptions};
use redis::{
    AsyncCommands, ExistenceCheck, RedisError, RedisResult, SetExpiry, SetOptions,
    aio::MultiplexedConnection,
};

use crate::{
    cluster::Cluster,
    history::{Only, Operation, Outcome},
    values::Value,
};

/// A client of either kind.
pub(super) enum Way {
    Redis(Box<Redis>),
    Library(Client),
}

/// A Redis client that connects anew when its connection has broken.
pub(super) struct Redis {
    client: redis::Client,
    connection: Option<MultiplexedConnection>,
}

impl Way {
    /// One client of each kind.
    pub(super) async fn all(cluster: &Cluster) -> [Self; 2] {
        let redis = Redis {
            client: cluster.redis_client(),
            connection: None,
        };
        [
            Self::Redis(Box::new(redis)),
            Self::Library(cluster.client().await),
        ]
    }

    /// Which kind it is.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "by redis",
            Self::Library(_) => "by the library",
        }
    }

    /// Does an operation on a key, with the bytes of the value if it writes one.
    /// `None` if this kind of client cannot.
    pub(super) async fn run(
        &mut self,
        key: &str,
        operation: Operation,
        bytes: Vec<u8>,
    ) -> Option<Outcome> {
        Some(match self {
            Self::Redis(redis) => redis.run(key, operation, bytes).await,
            // The library has no command that changes the time to live.
            Self::Library(_) if matches!(operation, Operation::Expire(_)) => return None,
            Self::Library(client) => by_library(client, key, operation, bytes)
                .await
                .unwrap_or_else(|error| library_outcome(&error)),
        })
    }
}

fn found(is: bool) -> Outcome {
    if is { Outcome::Done } else { Outcome::Not }
}

impl Redis {
    async fn run(&mut self, key: &str, operation: Operation, bytes: Vec<u8>) -> Outcome {
        let done = self.try_run(key, operation, bytes).await;
        done.unwrap_or_else(|error| {
            if error.is_unrecoverable_error() || error.is_timeout() {
                self.connection = None;
            }
            redis_outcome(&error)
        })
    }

    async fn try_run(
        &mut self,
        key: &str,
        operation: Operation,
        bytes: Vec<u8>,
    ) -> RedisResult<Outcome> {
        let redis = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Cluster::connect(&self.client).await?),
        };
        Ok(match operation {
            Operation::Set { only_if, ttl, .. } => {
                let mut options = SetOptions::default();
                if let Some(ttl) = ttl {
                    options = options.with_expiration(SetExpiry::PX(ttl.as_millis() as u64));
                }
                if let Some(only) = only_if {
                    options = options.conditional_set(match only {
                        Only::Absent => ExistenceCheck::NX,
                        Only::Present => ExistenceCheck::XX,
                    });
                }
                let set: Option<String> = redis.set_options(key, bytes, options).await?;
                found(set.is_some())
            }
            Operation::Get => match redis.get::<_, Option<Vec<u8>>>(key).await? {
                Some(bytes) => Outcome::Read(Value::tell(&bytes)),
                None => Outcome::Not,
            },
            Operation::Delete => found(redis.del::<_, u64>(key).await? == 1),
            Operation::Expire(ttl) => found(redis.pexpire(key, ttl.as_millis() as i64).await?),
        })
    }
}

/// What an error of the `redis` crate says of the operation.
fn redis_outcome(error: &RedisError) -> Outcome {
    match error.code() {
        Some("OOM" | "NOWRITE") => Outcome::Failed,
        _ => Outcome::Unknown,
    }
}

async fn by_library(
    client: &Client,
    key: &str,
    operation: Operation,
    bytes: Vec<u8>,
) -> Result<Outcome, Error> {
    Ok(match operation {
        Operation::Set { only_if, ttl, .. } => {
            let options = PutOptions {
                ttl,
                condition: only_if.map(|only| match only {
                    Only::Absent => Condition::Absent,
                    Only::Present => Condition::Present,
                }),
                ..PutOptions::default()
            };
            found(client.put_with(key, bytes, options).await?.is_some())
        }
        Operation::Get => Outcome::Read(Value::tell(&client.get(key).await?)),
        Operation::Delete => found(client.delete(key).await?),
        Operation::Expire(_) => unreachable!("not a command of the library"),
    })
}

/// What an error of the library says of the operation.
fn library_outcome(error: &Error) -> Outcome {
    match error {
        // A value that is lost is a miss to Redis clients, and so it is here.
        Error::Miss | Error::Lost { .. } => Outcome::Not,
        Error::OutOfMemory(_) | Error::NoWrite | Error::Refused(_) => Outcome::Failed,
        _ => Outcome::Unknown,
    }
}
