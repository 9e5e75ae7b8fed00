//! Many processes on one thread, in virtual time, decided by one seed.
//!
//! [`run`] has the world for one thread: a runtime whose clock advances when nobody has anything
//! left to do, random numbers of the seed, and the rules that are left out. A [`Process`] is what
//! tasks belong to: it can be frozen, as by SIGSTOP, and killed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    task::{AbortHandle, JoinHandle},
};

/// The wall clock when a simulation begins, in milliseconds since 1970.
pub const BEGINNING: u64 = 1_700_000_000_000;

/// How long a process is held up at most at a stall point.
const LONGEST_STALL_MS: u64 = 9_000;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static PROCESS: RefCell<Option<Process>> = const { RefCell::new(None) };
}

struct World {
    random: u64,
    began: Instant,
    left_out: BTreeSet<String>,
    /// How often the program came by each fail point.
    reached: BTreeMap<&'static str, u64>,
    /// How many of a thousand stall points hold a process up.
    stalls: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran<T> {
    /// What its work returned.
    pub output: T,
    /// How often the program came by each fail point.
    pub reached: BTreeMap<&'static str, u64>,
}

/// Runs a world to its end: until `work` returns. The rules named are left out.
///
/// # Panics
///
/// Within a simulation or a runtime.
pub fn run<T>(
    seed: u64,
    left_out: impl IntoIterator<Item = String>,
    work: impl AsyncFnOnce() -> T,
) -> Ran<T> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be had");
    let began = {
        let _entered = runtime.enter();
        now()
    };
    let world = World {
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0,
        began,
        left_out: left_out.into_iter().collect(),
        reached: BTreeMap::new(),
        stalls: 0,
    };
    let before = WORLD.with_borrow_mut(|it| it.replace(world));
    assert!(before.is_none(), "one simulation at a time on a thread");
    let output = runtime.block_on(work());
    // Its tasks go while the world is still there.
    drop(runtime);
    let world = WORLD
        .with_borrow_mut(Option::take)
        .expect("it was set above");
    Ran {
        output,
        reached: world.reached,
    }
}

/// Whether this thread runs a simulation.
pub fn is_running() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// A random number of the seed; `None` outside a simulation.
pub fn random() -> Option<u64> {
    // SplitMix64: small, and good enough to pick delays and victims by.
    WORLD.with_borrow_mut(|world| {
        let state = &mut world.as_mut()?.random;
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    })
}

/// One of `from..to`, or `from` if there is none.
///
/// # Panics
///
/// Outside a simulation.
pub fn range(from: u64, to: u64) -> u64 {
    let random = random().expect("within a simulation");
    from + random % to.saturating_sub(from).max(1)
}

/// Has so many of a thousand [stall points](crate::stall_point) hold up their process from now on.
pub fn stall_often(per_mille: u64) {
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            world.stalls = per_mille;
        }
    });
}

/// Perhaps freezes the current process for a while.
pub(crate) async fn stall() {
    let stalls = WORLD.with_borrow(|world| world.as_ref().map_or(0, |it| it.stalls));
    if stalls == 0 || range(0, 1_000) >= stalls {
        return;
    }
    let Some(process) = Process::current().filter(|it| !it.is_frozen()) else {
        return;
    };
    process.freeze();
    let millis = range(0, LONGEST_STALL_MS);
    tracing::debug!(millis, "held up");
    let held_up = process.clone();
    // Not by the process, which does nothing meanwhile.
    let _entered = Entered::new(None);
    spawn(async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        held_up.thaw();
    });
    drop(_entered);
    tokio::task::yield_now().await;
}

/// How long the simulation has run; `None` outside one.
pub fn elapsed() -> Option<Duration> {
    let began = WORLD.with_borrow(|world| world.as_ref().map(|it| it.began))?;
    Some(now() - began)
}

/// The wall clock of the current process.
pub(crate) fn unix_ms() -> Option<u64> {
    let elapsed = elapsed()?.as_millis() as u64;
    let skew = Process::current().map_or(0, |it| it.0.skew_ms);
    Some((BEGINNING + elapsed).saturating_add_signed(skew))
}

pub(crate) fn is_left_out(rule: &'static str) -> bool {
    WORLD.with_borrow_mut(|world| {
        let Some(world) = world else { return false };
        *world.reached.entry(rule).or_default() += 1;
        world.left_out.contains(rule)
    })
}

/// The monotonic clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Starts a task, which ends with the current process.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let spawned = tokio::spawn(Scoped::new(future));
    if let Some(process) = Process::current() {
        let mut state = process.state();
        if state.is_dead {
            spawned.abort();
        }
        state.tasks.retain(|it| !it.is_finished());
        state.tasks.push(spawned.abort_handle());
    }
    spawned
}

/// What tasks, sockets and a clock belong to.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    name: String,
    address: IpAddr,
    skew_ms: i64,
    state: Mutex<ProcessState>,
}

#[derive(Default)]
struct ProcessState {
    is_dead: bool,
    is_frozen: bool,
    tasks: Vec<AbortHandle>,
    /// Of tasks that were woken while it was frozen.
    held_up: Vec<Waker>,
}

impl fmt::Debug for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.name)
    }
}

impl Process {
    /// A process with an address of its own, and a wall clock that is so far ahead.
    pub fn new(name: String, address: IpAddr, skew_ms: i64) -> Self {
        Self(Arc::new(Inner {
            name,
            address,
            skew_ms,
            state: Mutex::default(),
        }))
    }

    /// The one whose task is being polled on this thread.
    pub fn current() -> Option<Self> {
        PROCESS.with_borrow(Clone::clone)
    }

    /// Its name, for logs.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where its sockets are.
    pub fn address(&self) -> IpAddr {
        self.0.address
    }

    /// Starts a task of it.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.enter(|| spawn(future))
    }

    /// Does something as a part of it.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(Some(self.clone()));
        work()
    }

    /// Stops it where it is, as SIGSTOP does.
    pub fn freeze(&self) {
        self.state().is_frozen = true;
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        let held_up = {
            let mut state = self.state();
            state.is_frozen = false;
            std::mem::take(&mut state.held_up)
        };
        held_up.into_iter().for_each(Waker::wake);
    }

    /// Ends it where it is, as SIGKILL does: its tasks are dropped.
    pub fn kill(&self) {
        let tasks = {
            let mut state = self.state();
            state.is_dead = true;
            state.is_frozen = false;
            std::mem::take(&mut state.tasks)
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Whether it has not been killed.
    pub fn is_alive(&self) -> bool {
        !self.state().is_dead
    }

    /// Whether it is stopped.
    pub fn is_frozen(&self) -> bool {
        self.state().is_frozen
    }

    fn state(&self) -> MutexGuard<'_, ProcessState> {
        self.0.state.lock().expect("plain data")
    }
}

/// Makes a process the current one for as long as this lives.
struct Entered(Option<Process>);

impl Entered {
    fn new(process: Option<Process>) -> Self {
        Self(PROCESS.with_borrow_mut(|it| std::mem::replace(it, process)))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        PROCESS.with_borrow_mut(|it| *it = self.0.take());
    }
}

/// A future that is polled as a part of the process in which it was made.
pub struct Scoped<F> {
    process: Option<Process>,
    /// `None` once its process was killed.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Scoped<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            process: Process::current(),
            future: Some(Box::pin(future)),
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(process) = self.process.clone() else {
            let future = self.future.as_mut().expect("only a kill takes it");
            return future.as_mut().poll(context);
        };
        {
            let mut state = process.state();
            if state.is_frozen && !state.is_dead {
                state.held_up.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        let _entered = Entered::new(Some(process.clone()));
        if !process.is_alive() {
            self.future = None;
        }
        match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        let _entered = Entered::new(self.process.clone());
        self.future = None;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        sync::oneshot,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{hash::HashMap, random, task};

    fn process(name: &str) -> Process {
        Process::new(name.into(), Ipv4Addr::LOCALHOST.into(), 0)
    }

    #[test]
    fn a_seed_decides_everything() {
        let numbers = |seed| {
            let ran = run(seed, [], async || {
                let map: HashMap<u64, ()> = (0..8).map(|_| (random::u64().unwrap(), ())).collect();
                map.into_keys().collect::<Vec<_>>()
            });
            ran.output
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    #[test]
    fn a_frozen_process_goes_on_where_it_was_and_late() {
        run(0, [], async || {
            let process = process("p");
            let sleeping = process.spawn(async {
                sleep(Duration::from_secs(1)).await;
                elapsed().unwrap().as_secs()
            });
            sleep(Duration::from_millis(500)).await;
            process.freeze();
            sleep(Duration::from_secs(5)).await;
            assert!(!sleeping.is_finished());
            process.thaw();
            assert_eq!(sleeping.await.unwrap(), 5);
        });
    }

    #[test]
    fn a_process_that_is_killed_drops_what_it_had_and_does_nothing_any_more() {
        run(0, [], async || {
            let process = process("p");
            let (held, dropped) = oneshot::channel::<()>();
            process.spawn(async move {
                let _held = held;
                task::spawn(task::scoped(std::future::pending::<()>()));
                std::future::pending::<()>().await;
            });
            sleep(Duration::from_secs(1)).await;
            process.kill();
            assert!(
                timeout(Duration::from_secs(1), dropped)
                    .await
                    .unwrap()
                    .is_err()
            );
            let late = process.spawn(async { panic!("it is dead") });
            assert!(late.await.unwrap_err().is_cancelled());
        });
    }

    #[test]
    fn fail_points_are_counted_and_those_that_are_named_are_on() {
        let ran = run(0, ["one".to_owned()], async || {
            [crate::fail_point("one"), crate::fail_point("other")]
        });
        assert_eq!(ran.output, [true, false]);
        assert_eq!(ran.reached, BTreeMap::from([("one", 1), ("other", 1)]));
        assert!(!crate::fail_point("one"));
    }
}
