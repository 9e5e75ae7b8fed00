//! Our own protocol, by the client library, as applications use it.

use std::{io, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use infinicache_client::{Address, Client, Error, Options};

use crate::{
    keys::Keys,
    request::{Failure, Operation, Request, RequestOutcome},
    value::Pattern,
};

/// Memory for the units of all values that are under way.
const BUDGET: usize = 512 << 20;

/// Connects one client, which all users of it share.
///
/// # Errors
///
/// If no proxy can be reached.
pub async fn connect(
    addresses: &[Address],
    users: usize,
    timeout: Duration,
) -> Result<Client, Error> {
    let options = Options::default()
        .deadline(timeout)
        .budget(BUDGET)
        .connections(users.clamp(16, 1024));
    options.connect(addresses.iter().cloned()).await
}

/// Makes requests at once, and tells of each when it ends: by its place among them.
pub async fn exchange(
    client: &Client,
    requests: &[Request],
    keys: &Keys,
    pattern: &Pattern,
    mut told: impl FnMut(usize, Result<RequestOutcome, Failure>),
) {
    if let [request] = requests {
        return told(0, one(client, request, keys, pattern).await);
    }
    let one = async |(place, request)| (place, one(client, request, keys, pattern).await);
    let mut under_way: FuturesUnordered<_> = requests.iter().enumerate().map(one).collect();
    while let Some((place, outcome)) = under_way.next().await {
        told(place, outcome);
    }
}

async fn one(
    client: &Client,
    request: &Request,
    keys: &Keys,
    pattern: &Pattern,
) -> Result<RequestOutcome, Failure> {
    let name = keys.name(request.key);
    match request.operation {
        Operation::Get => match get(client, &name, request, pattern).await {
            Err(Error::Miss) => Ok(RequestOutcome::Miss),
            Err(error) => Err(error.into()),
            Ok(outcome) => outcome,
        },
        Operation::Set => {
            let size = request.size.unwrap_or(0);
            let value = pattern.value(request.key, request.version, size);
            client.put(&name, value).await?;
            Ok(RequestOutcome::Stored(size))
        }
        Operation::Delete => {
            client.delete(&name).await?;
            Ok(RequestOutcome::Deleted)
        }
    }
}

async fn get(
    client: &Client,
    name: &[u8],
    request: &Request,
    pattern: &Pattern,
) -> Result<Result<RequestOutcome, Failure>, Error> {
    let mut download = client.open(name).await?;
    let size = download.size();
    let mut check = request
        .is_verified
        .then(|| pattern.check(request.key, size));
    let mut seen = 0;
    while let Some(piece) = download.next().await? {
        seen += piece.len() as u64;
        if let Some(check) = &mut check {
            check.feed(&piece);
        }
    }
    if seen != size {
        return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(match check {
        _ if request.size.is_some_and(|expected| expected != size) => Err(Failure::WrongLength),
        Some(check) if !check.is_whole() => Err(Failure::WrongBytes),
        _ => Ok(RequestOutcome::Hit(size)),
    })
}
