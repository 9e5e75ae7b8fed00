//! A handle to the proxies of a cache.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use infinicache_engine::{Budget, Error};
use infinicache_wire::control::PoolStatus;

use crate::{address::Address, hash_ring::HashRing, options::Options, proxy::Proxy};

/// A client of one proxy or several. Clones are handles to the same one, and any
/// number of tasks may use them at once.
///
/// Of several proxies each owns part of the keys, which the client works out by
/// itself: all clients must be given the same proxies, by the same names. A proxy
/// that cannot be reached concerns its own keys only.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientInner>);

#[derive(Debug)]
struct ClientInner {
    proxies: Vec<Proxy>,
    ring: HashRing,
    budget: Budget,
    deadline: Duration,
}

impl Client {
    /// Connects to the proxies at these addresses: `host:port` or, as in `REDIS_URL`,
    /// `redis://[user:password@]host:port`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if there is no address or one makes no sense, and what
    /// went wrong with the first if none can be reached.
    pub async fn connect<A>(addresses: impl IntoIterator<Item = A>) -> Result<Self, Error>
    where
        A: TryInto<Address, Error: Into<Error>>,
    {
        Options::default().connect(addresses).await
    }

    async fn with_options(
        addresses: Result<Vec<Address>, Error>,
        options: Options,
    ) -> Result<Self, Error> {
        let mut addresses = addresses?;
        addresses.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        addresses.dedup_by(|one, other| one.as_str() == other.as_str());
        let budget = Budget::new(options.budget);
        let ring = HashRing::new(addresses.iter().map(Address::as_str));
        let proxy = |address| Proxy::new(address, &options, budget.clone());
        let proxies: Vec<Proxy> = addresses.into_iter().map(proxy).collect();

        let views = join_all(proxies.iter().map(Proxy::fetch_status)).await;
        if views.iter().all(Result::is_err) {
            let none = Error::Refused("a client needs the address of a proxy".into());
            return Err(views.into_iter().find_map(Result::err).unwrap_or(none));
        }
        Ok(Self(Arc::new(ClientInner {
            proxies,
            ring,
            budget,
            deadline: options.deadline,
        })))
    }

    /// Deletes the value of `key`; whether there was one.
    ///
    /// # Errors
    ///
    /// Whatever kept the proxy from answering: it is not known then whether the value is there.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.proxy(key.as_ref())
            .control()
            .delete(key.as_ref())
            .await
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    ///
    /// Whatever kept the proxy from answering.
    pub async fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.proxy(key.as_ref())
            .control()
            .exists(key.as_ref())
            .await
    }

    /// The pool as the first proxy that can be reached sees it.
    ///
    /// # Errors
    ///
    /// What went wrong with the last, if none can be.
    pub async fn pool(&self) -> Result<PoolStatus, Error> {
        let mut failed = Error::Unreachable("there is no proxy".into());
        for proxy in &self.0.proxies {
            match proxy.fetch_status().await {
                Ok(view) => return Ok((*view).clone()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The pool of each proxy, beside its address.
    pub async fn pools(&self) -> Vec<(String, Result<PoolStatus, Error>)> {
        let view = async |proxy: &Proxy| {
            let view = proxy.fetch_status().await;
            (proxy.address().to_owned(), view.map(|view| (*view).clone()))
        };
        join_all(self.0.proxies.iter().map(view)).await
    }

    /// Waits until the proxies have heard which reads have ended and which writes were given up.
    ///
    /// They are told in the background. A process that is about to exit calls this, or the
    /// proxies keep what is of no use any more until they find out by themselves.
    pub async fn flush(&self) {
        join_all(self.0.proxies.iter().map(Proxy::told)).await;
    }

    /// Bytes that all operations together hold in buffers now.
    pub fn buffered_bytes(&self) -> usize {
        self.0.budget.used()
    }

    /// The proxy that owns a key.
    pub(crate) fn proxy(&self, key: &[u8]) -> &Proxy {
        let owner = self.0.ring.owner(key).expect("a client has a proxy");
        &self.0.proxies[owner]
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.0.deadline
    }
}

impl Options {
    /// Connects a client to the proxies at these addresses, as [`Client::connect`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if there is no address or one makes no sense, and what
    /// went wrong with the first if none can be reached.
    pub async fn connect<A>(self, addresses: impl IntoIterator<Item = A>) -> Result<Client, Error>
    where
        A: TryInto<Address, Error: Into<Error>>,
    {
        let addresses = addresses.into_iter().map(TryInto::try_into);
        let addresses = addresses.collect::<Result<_, _>>().map_err(Into::into);
        Client::with_options(addresses, self).await
    }
}
