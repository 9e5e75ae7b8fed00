//! The process: what is started, in order, and how it ends.

mod background_tasks;
mod ports;
mod settings;

use std::{future::Future, sync::Arc};

use infinicache_daemon::{files, memory};
use infinicache_discovery::Watched;
use infinicache_engine::{Budget, LatencyTracker};
use infinicache_erasure::{Code, Kernel};
use infinicache_host::task;
use infinicache_socket::Listener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use self::{background_tasks::BackgroundTasks, ports::Ports};
use crate::{
    admin,
    cache::Cache,
    command::ServerContext,
    config::Config,
    connection_limit,
    gc_queue::GcQueue,
    metadata::tombstones::Tombstones,
    metrics::Metrics,
    password::Password,
    pool::{self, Nodes},
    rate_limiter::RateLimiter,
    recovery,
    redis_adapter::{RedisObserver, ToRelay},
    server,
    upkeep::{self, repair_queue::RepairQueue},
};

/// Repairs that run at once.
const PARALLEL_REPAIRS: u64 = 2;

/// Runs a proxy until `shutdown` completes.
///
/// # Errors
///
/// If the configuration makes no sense or a port cannot be bound; nothing has been started then.
/// Or if this run of the proxy has to end, because another leads the pool.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    memory::decay();
    let code = config.code()?;
    let watched = if config.discovery.is_on() {
        Some(Watched::new(&config.discovery).await?)
    } else {
        None
    };
    let secret = config.secret.load()?;
    let password = config.password.load()?;
    let max_connections = connection_limit::affordable(&config, files::limit());
    let ports = Ports::bind(&config).await?;

    let pool = settings::pool(&config, code, &secret, ports.advertise)?;
    let cache = cache(&config, code, pool)?;
    let queue = Arc::new(RepairQueue::default());
    if let Some(timeouts) = settings::prepare_timeouts(&config) {
        recovery::prepare(&cache, config.nodes.len(), timeouts);
    }
    let mut tasks = BackgroundTasks::default();
    follow_cache(&mut tasks, &cache, &queue);
    tasks.spawn(config.secret.clone().follow(secret));
    run_pool(&mut tasks, cache.nodes(), ports.nodes);
    discover(&mut tasks, &cache, watched);
    if cache.nodes().prepare_phase().is_recovering() {
        let first_look = settings::first_look(&config);
        tasks.spawn(recovery::run(cache.clone(), first_look));
    }
    run_upkeep(&mut tasks, &config, &cache, &queue);
    let admin = Admin::start(&config, &cache, &queue, ports.admin);

    let (address, nodes, kernel) = (
        ports.redis.local_addr()?,
        config.nodes.len(),
        Kernel::detect(),
    );
    info!(%address, nodes, %code, kernel = kernel.name(), "serving");
    tasks.spawn(config.password.clone().follow(password.clone()));
    let clients = Clients {
        cache: &cache,
        config: &config,
        max_connections,
    };
    clients.serve(ports.redis, password, shutdown).await?;
    admin.stop().await;
    info!("stopped");
    Ok(())
}

/// The cache over its pool, with nothing at work yet.
fn cache(config: &Config, code: Code, pool: pool::Settings) -> anyhow::Result<Cache> {
    let metrics = Arc::new(Metrics::new());
    let latencies = Arc::new(LatencyTracker::default());
    let settings = settings::cache(config, code, pool.epoch.clone());
    let addresses = config.nodes.clone();
    let nodes = Nodes::new(pool, addresses, latencies.clone(), metrics.clone());
    let members = nodes.members().clone();
    let tombstones = Arc::new(Tombstones::default());
    Ok(Cache::new(
        settings,
        nodes,
        Budget::new(usize::try_from(config.buffer_bytes.0)?),
        latencies,
        metrics,
        Arc::new(GcQueue::new(members, tombstones.clone())),
        tombstones,
    ))
}

/// What objects leave behind is done, what happens to members is followed, what is idle ends.
fn follow_cache(tasks: &mut BackgroundTasks, cache: &Cache, queue: &Arc<RepairQueue>) {
    use upkeep::background;
    tasks.spawn(background::run_gc_tasks(cache.clone(), queue.clone()));
    tasks.spawn(background::follow_nodes(cache.clone()));
    tasks.spawn(background::expire_idle(cache.clone()));
}

/// Time passes for nodes, and they may dial.
fn run_pool(tasks: &mut BackgroundTasks, nodes: &Nodes, listener: Listener) {
    tasks.spawn(nodes.clone().live());
    tasks.spawn(pool::listener::open(listener, nodes.admission().clone()));
}

/// What the platform tells of nodes is taken in.
fn discover(tasks: &mut BackgroundTasks, cache: &Cache, watched: Option<Watched>) {
    let (nodes, metrics) = (cache.nodes().clone(), cache.metrics().clone());
    if let Some(watched) = watched {
        tasks.spawn(watched.run(
            move |reason| metrics.watch_failed(reason),
            move |seen| nodes.observer().observe(seen),
        ));
    }
}

/// Objects are kept whole, and the pool no larger than it has to be.
fn run_upkeep(
    tasks: &mut BackgroundTasks,
    config: &Config,
    cache: &Cache,
    queue: &Arc<RepairQueue>,
) {
    let (cache, queue) = (|| cache.clone(), || queue.clone());
    let limiter = RateLimiter::new(
        cache().metrics().clone(),
        config.repair_bytes_per_second.0,
        PARALLEL_REPAIRS,
    );
    for _ in 0..PARALLEL_REPAIRS {
        let (limiter, reencode_after) = (limiter.clone(), config.reencode_after);
        tasks.spawn(upkeep::repair::run(
            cache(),
            queue(),
            limiter,
            reencode_after,
        ));
    }
    let rate = config.evacuation_bytes_per_second.0 / config.evacuations;
    for _ in 0..config.evacuations {
        tasks.spawn(upkeep::evacuation::run(cache(), queue(), rate));
    }
    tasks.spawn(upkeep::scale_down::run(
        cache(),
        settings::scale_down(config),
    ));
    tasks.spawn(upkeep::pool_deletion::run(cache()));
    tasks.spawn(upkeep::scrub::run(cache(), config.scrub_bytes_per_second.0));
}

/// The admin port, while it is served.
struct Admin {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Admin {
    fn start(config: &Config, cache: &Cache, queue: &Arc<RepairQueue>, listener: Listener) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let view = admin::Admin {
            cache: cache.clone(),
            repair_queue: queue.clone(),
            repair_bytes_per_second: config.repair_bytes_per_second.0,
        };
        let serving = admin::serve(listener, view, stop.clone().cancelled_owned());
        task::spawn(tracker.track_future(serving));
        Self { tracker, stop }
    }

    /// No request is taken any more; those that were are answered.
    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The clients of the Redis port.
struct Clients<'a> {
    cache: &'a Cache,
    config: &'a Config,
    max_connections: usize,
}

impl Clients<'_> {
    /// Serves them until `shutdown` completes.
    ///
    /// # Errors
    ///
    /// If this run of the proxy had to end before.
    async fn serve(
        self,
        listener: Listener,
        password: Password,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let (cache, config) = (self.cache.clone(), self.config);
        let limits = settings::client_limits(config, self.max_connections);
        let observer = RedisObserver::new(cache.clone(), listener.local_addr()?.port(), limits);
        let context = ServerContext::new(cache.clone(), Arc::new(observer)).guarded_by(password);
        let to_relay = ToRelay {
            cache: cache.clone(),
            timeouts: settings::timeouts(config),
        };
        let mut over = None;
        let ending = async {
            tokio::select! {
                biased;
                () = shutdown => {}
                why = cache.nodes().termination().over() => over = Some(why),
            }
        };
        let limits = settings::server(config, self.max_connections);
        server::serve(listener, Arc::new(context), to_relay, limits, ending).await;
        over.map_or(Ok(()), |why| Err(why.into()))
    }
}
