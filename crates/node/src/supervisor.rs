//! The sockets around the decisions of a [`Session`]: dials, serves, redials.
//!
//! At any time there is at most one attempt to reach a proxy and at most one
//! link. Both are futures of this one task, so that dropping one ends it
//! before anything else happens: no request of an old link is served after a
//! new one has been welcomed.

use std::{
    error::Error,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use infinicache_host::{clock, fail_point, random, watch};
use infinicache_wire::{PROTOCOL_VERSION, handshake::Hello, wake::Wake, wake_answer::SessionEnd};
use tokio::{sync::Notify, time::sleep_until};
use tracing::{Instrument, info, info_span, warn};

use crate::{
    dial::{DialError, Dialled, dial},
    instance::{Identity, Instance},
    link::{Link, LinkError, Rights},
    session::{FencedError, Session},
    transfer::Transfers,
};

/// What the wake endpoint and the supervisor share.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) instance: Arc<Instance>,
    pub(crate) transfers: Arc<Transfers>,
    /// Where other nodes reach this one.
    direct: Option<SocketAddr>,
    session: Mutex<Session>,
    woken: Notify,
    /// Whether there is a link to a proxy.
    linked: watch::Sender<bool>,
}

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An attempt to reach the proxy of a wake.
struct Attempt {
    wake: Wake,
    dial: Task<Result<Dialled, DialError>>,
}

/// A link, until it is over.
type Serving = Task<Result<(), LinkError>>;

impl Supervisor {
    pub(crate) fn new(instance: Arc<Instance>, direct: Option<SocketAddr>) -> Self {
        Self {
            transfers: Arc::new(Transfers::new(instance.clone())),
            instance,
            direct,
            session: Mutex::default(),
            woken: Notify::new(),
            linked: watch::Sender::new(false),
        }
    }

    /// Whether there is a link to a proxy, now and later.
    pub(crate) fn links(&self) -> watch::Receiver<bool> {
        self.linked.subscribe()
    }

    /// Takes a wake: whether its session is linked already, and what waits for its end.
    ///
    /// # Errors
    ///
    /// If it comes from a proxy that is fenced, or while another leads.
    pub(crate) fn wake(
        &self,
        wake: Wake,
    ) -> Result<(bool, impl Future<Output = SessionEnd> + Send + use<>), FencedError> {
        let lifetimes = wake.lifetimes;
        let linked = {
            let acceptor = self.instance.service.acceptor();
            self.session().woken(wake, &acceptor, clock::now())?
        };
        if !linked {
            self.woken.notify_one();
        }
        Ok((linked, self.instance.clock.begin(&lifetimes)))
    }

    /// Ends sessions in time, until the node is about to go.
    pub(crate) async fn end_sessions(self: Arc<Self>) {
        let ended = || {
            self.instance.service.counters.ended_sessions.inc();
        };
        self.instance
            .clock
            .run(&self.instance.exit.announced, ended)
            .await;
    }

    /// Keeps the node linked to whom it was woken by, until it goes.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut attempt: Option<Attempt> = None;
        let mut link: Option<Serving> = None;
        loop {
            let next = self.next();
            // An attempt goes on only while its wake is the one that is pursued.
            attempt = attempt.filter(|attempt| {
                let dialled = next.as_ref().map(|(wake, _)| wake);
                dialled == Some(&attempt.wake)
            });
            let due = next.as_ref().map(|&(_, due)| due);
            tokio::select! {
                // A busy link never waits, so what comes seldom is looked at first.
                biased;
                () = self.instance.exit.now.cancelled(), if link.is_none() => return,
                () = self.woken.notified() => {}
                dialled = maybe(attempt.as_mut().map(|attempt| &mut attempt.dial)) => {
                    let wake = attempt.take().map(|attempt| attempt.wake);
                    if wake != self.next().map(|(wake, _)| wake) {
                        continue;
                    }
                    match dialled {
                        Ok(dialled) => self.welcomed(dialled, &mut link),
                        Err(error) => self.failed(&error),
                    }
                }
                () = until(due), if attempt.is_none() => {
                    attempt = next.map(|(wake, _)| self.dial(wake));
                }
                over = maybe(link.as_mut()) => match over {
                    Ok(()) => return,
                    Err(error) => {
                        link = None;
                        self.lost(&error);
                    }
                },
            }
        }
    }

    fn next(&self) -> Option<(Wake, Instant)> {
        let session = self.session();
        session.next().map(|(wake, due)| (wake.clone(), due))
    }

    fn dial(self: &Arc<Self>, wake: Wake) -> Attempt {
        let supervisor = Arc::clone(self);
        let hello = self.hello(&wake);
        let proxy = wake.proxy.clone();
        let dial = Box::pin(async move {
            dial(
                &proxy,
                hello,
                supervisor.direct,
                &supervisor.instance.identity.secret,
            )
            .await
        });
        Attempt { wake, dial }
    }

    fn hello(&self, wake: &Wake) -> Hello {
        let Identity {
            name,
            instance,
            pod,
            host,
            zone,
            secret: _,
        } = &self.instance.identity;
        Hello {
            protocol: PROTOCOL_VERSION,
            node: name.clone(),
            instance: *instance,
            session: wake.session.clone(),
            pod: pod.clone(),
            host: host.clone(),
            zone: zone.clone(),
            capacity: self.instance.service.capacity(),
            used: self.instance.service.used(),
            direct: String::new(),
            epoch: self.session().epoch(),
            proof: String::new(),
        }
    }

    /// Replaces the link, if the proxy that welcomed the node may be followed.
    fn welcomed(self: &Arc<Self>, dialled: Dialled, link: &mut Option<Serving>) {
        let Dialled {
            stream,
            decoder,
            welcome,
        } = dialled;
        let before = self.session().epoch();
        let outcome = {
            let acceptor = self.instance.service.acceptor();
            let mut session = self.session();
            session.welcomed(welcome.epoch, &acceptor, clock::now())
        };
        let wake = match outcome {
            Ok(wake) => wake,
            Err(disobeyed) => return self.failed(&disobeyed),
        };
        let Some(Wake { proxy, session, .. }) = wake else {
            return;
        };

        // A proxy that welcomes the node relies on it from then on.
        self.instance
            .service
            .follow(welcome.epoch > before, clock::now());
        let replaced = link.take().is_some();
        let dropped_bytes = if welcome.fresh {
            self.instance.service.used()
        } else {
            0
        };
        if welcome.fresh {
            self.instance.service.clear();
        } else if welcome.epoch > before && !fail_point("forget_unfinished") {
            self.instance.service.forget_unfinished();
        }
        self.instance.service.counters.links.inc();
        let span = info_span!("link", %proxy, %session);
        info!(
            parent: &span,
            member = %welcome.member,
            epoch = welcome.epoch,
            replaced,
            dropped_bytes,
            "linked"
        );

        let supervisor = Arc::clone(self);
        let serving = async move {
            Link::new(stream, decoder, Rights::Proxy)
                .serve(&supervisor.instance, &supervisor.transfers)
                .await
        };
        *link = Some(Box::pin(serving.instrument(span)));
        self.linked.send_replace(true);
    }

    fn failed(&self, error: &(dyn Error + 'static)) {
        if self.session().failed(clock::now(), random()) {
            self.instance.service.counters.redials.inc();
            warn!(error, "proxy not reached, will be dialled again");
        } else {
            warn!(error, "proxy not reached, given up until the next wake");
        }
    }

    fn lost(&self, error: &(dyn Error + 'static)) {
        warn!(error, "link lost");
        self.linked.send_replace(false);
        self.instance.service.counters.lost_links.inc();
        self.instance.service.counters.redials.inc();
        self.session().lost(clock::now(), random());
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().expect("the session does not panic")
    }
}

async fn maybe<T>(task: Option<&mut Task<T>>) -> T {
    match task {
        Some(task) => task.await,
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// A random number; without a source of them, back-offs are merely not spread.
fn random() -> u64 {
    random::u64().unwrap_or(0)
}
