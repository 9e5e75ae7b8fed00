//! Virtual time, the queue of what is to happen, and the processes that it happens to.
//!
//! Everything runs on one thread and is decided by one seed. Proxies, clients and
//! the nemesis are tasks: futures that are polled again whenever something
//! happened to their process, until none of them gets any further. So a wait is
//! a condition, and no wake-up can be forgotten. A process that is frozen keeps
//! what happens to it for later; one that is dead loses it.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    client::Ended,
    faults::Faults,
    history::{Command, History},
    network::{Frame, Network},
    node::Node,
    proxy::Proxy,
    random::Random,
    rules::Rules,
};

/// Virtual milliseconds since the start.
pub(super) type Millis = u64;

/// A conversation between a node and a proxy.
pub(super) type Link = u32;

/// Whom something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    Nemesis,
    Client(u32),
    Proxy(u32),
    Node(u32),
}

/// Something that happens.
#[expect(clippy::large_enum_variant, reason = "few live at once")]
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Time for whoever waits for it.
    Timer,
    /// A node is to dial the proxy that it is after.
    Dial,
    /// Somebody sent a frame.
    Frame(Link, Frame),
    /// A link is over.
    Closed(Link),
    /// The platform was asked to wake a name for a session of a proxy.
    Wake {
        proxy: u32,
        epoch: u64,
        session: u64,
    },
    /// A node refused a wake because it hears from a run of that epoch, which leads.
    Led { leader: u64 },
    /// A client asks for something.
    Asked {
        client: u32,
        ticket: u64,
        command: Command,
    },
    /// A proxy answered, or will not any more.
    Ended { ticket: u64, ended: Ended },
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Control {
    is_dead: bool,
    is_frozen: bool,
    held: Vec<Event>,
    tasks: Vec<Task>,
}

struct Due {
    at: Millis,
    order: u64,
    process: Process,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Everything there is.
pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) faults: Faults,
    /// Whether frames are often late by far.
    pub(super) is_slow: bool,
    pub(super) parity: usize,
    pub(super) names: usize,
    pub(super) network: RefCell<Network>,
    pub(super) nodes: RefCell<BTreeMap<u32, Node>>,
    /// The names of all instances that ever were.
    pub(super) named: RefCell<BTreeMap<u32, usize>>,
    /// The instance that is behind each name now.
    pub(super) current: RefCell<Vec<Option<u32>>>,
    pub(super) proxies: RefCell<BTreeMap<u32, Rc<Proxy>>>,
    pub(super) clients: RefCell<BTreeMap<u32, super::client::Inbox>>,
    pub(super) history: RefCell<History>,
    pub(super) steps: Cell<u64>,
    /// No more faults, and nothing is thrown out.
    pub(super) is_calm: Cell<bool>,
    pub(super) is_over: Cell<bool>,
    /// How many instances are frozen or about to go.
    pub(super) impaired: Cell<u64>,
    pub(super) next_instance: Cell<u32>,
    pub(super) next_proxy: Cell<u32>,
    started: Instant,
    now: Cell<Millis>,
    order: Cell<u64>,
    progress: Cell<bool>,
    random: RefCell<Random>,
    queue: RefCell<BinaryHeap<Reverse<Due>>>,
    controls: RefCell<BTreeMap<Process, Control>>,
    spawned: RefCell<Vec<(Process, Task)>>,
    log: RefCell<Option<Vec<String>>>,
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules, faults: Faults, log: bool) -> Rc<Self> {
        let (names, parity) = [(3, 1), (4, 1), (5, 2), (6, 2)][(seed % 4) as usize];
        Rc::new(Self {
            rules,
            faults,
            is_slow: faults == Faults::Often && seed.is_multiple_of(3),
            parity,
            names,
            network: RefCell::default(),
            nodes: RefCell::default(),
            named: RefCell::default(),
            current: RefCell::new(vec![None; names]),
            proxies: RefCell::default(),
            clients: RefCell::default(),
            history: RefCell::default(),
            steps: Cell::new(0),
            is_calm: Cell::new(false),
            is_over: Cell::new(false),
            impaired: Cell::new(0),
            next_instance: Cell::new(1),
            next_proxy: Cell::new(1),
            started: Instant::now(),
            now: Cell::new(0),
            order: Cell::new(0),
            progress: Cell::new(false),
            random: RefCell::new(Random::new(seed)),
            queue: RefCell::default(),
            controls: RefCell::default(),
            spawned: RefCell::default(),
            log: RefCell::new(log.then(Vec::new)),
        })
    }

    pub(super) fn now(&self) -> Millis {
        self.now.get()
    }

    /// A virtual time as the pure parts take it. Only differences matter to them.
    pub(super) fn instant(&self, at: Millis) -> Instant {
        self.started + Duration::from_millis(at)
    }

    pub(super) fn millis(&self, at: Instant) -> Millis {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    /// One of `from..to`.
    pub(super) fn range(&self, from: u64, to: u64) -> u64 {
        self.random.borrow_mut().range(from, to)
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.range(0, 100) < percent
    }

    /// One of them, if there are any.
    pub(super) fn pick<T: Copy>(&self, from: &[T]) -> Option<T> {
        match from.len() {
            0 => None,
            len => Some(from[self.range(0, len as u64) as usize]),
        }
    }

    /// Writes into the log, if there is one.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.push(format!("{:>6} {}", self.now(), line()));
        }
    }

    pub(super) fn take_log(&self) -> Vec<String> {
        self.log.borrow_mut().take().unwrap_or_default()
    }

    pub(super) fn schedule(&self, at: Millis, process: Process, event: Event) {
        let order = self.order.get();
        self.order.set(order + 1);
        self.queue.borrow_mut().push(Reverse(Due {
            at,
            order,
            process,
            event,
        }));
    }

    /// Runs a task of a process from its next turn on.
    pub(super) fn spawn(&self, process: Process, task: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push((process, Box::pin(task)));
        self.schedule(self.now(), process, Event::Timer);
    }

    pub(super) fn is_dead(&self, process: Process) -> bool {
        let controls = self.controls.borrow();
        controls.get(&process).is_some_and(|it| it.is_dead)
    }

    pub(super) fn is_frozen(&self, process: Process) -> bool {
        let controls = self.controls.borrow();
        controls.get(&process).is_some_and(|it| it.is_frozen)
    }

    pub(super) fn freeze(&self, process: Process) {
        self.note(|| format!("{process:?} freezes"));
        let mut controls = self.controls.borrow_mut();
        controls.entry(process).or_default().is_frozen = true;
    }

    /// What has happened to the process meanwhile happens now, in the same order; timers in any.
    pub(super) fn thaw(&self, process: Process) {
        let mut controls = self.controls.borrow_mut();
        let Some(control) = controls.get_mut(&process).filter(|it| it.is_frozen) else {
            return;
        };
        control.is_frozen = false;
        self.note(|| format!("{process:?} thaws"));
        for event in control.held.drain(..) {
            let at = match event {
                Event::Timer => self.now() + self.range(0, 4),
                _ => self.now(),
            };
            self.schedule(at, process, event);
        }
    }

    /// Nothing of the process is left. Its peers are for the caller to tell.
    pub(super) fn kill(&self, process: Process) {
        self.note(|| format!("{process:?} dies"));
        let mut controls = self.controls.borrow_mut();
        let control = controls.entry(process).or_default();
        control.is_dead = true;
        control.held.clear();
        let tasks = std::mem::take(&mut control.tasks);
        drop(controls);
        drop(tasks);
    }

    /// Lets the next thing happen; `false` if there is none until `end`.
    pub(super) fn step(self: &Rc<Self>, end: Millis) -> bool {
        let mut queue = self.queue.borrow_mut();
        let Some(Reverse(due)) = queue.pop() else {
            return false;
        };
        if due.at > end {
            queue.push(Reverse(due));
            self.now.set(end);
            return false;
        }
        drop(queue);
        self.now.set(self.now().max(due.at));
        self.steps.set(self.steps.get() + 1);
        self.happen(due.process, due.event);
        true
    }

    fn happen(self: &Rc<Self>, process: Process, event: Event) {
        {
            let mut controls = self.controls.borrow_mut();
            let control = controls.entry(process).or_default();
            if control.is_dead {
                drop(controls);
                return self.network.borrow_mut().unreachable(self, process, event);
            }
            // What was under way on a link that broke is lost; what has arrived is not.
            if let Event::Frame(link, _) = &event
                && !self.network.borrow().takes(process, *link, &event)
            {
                return;
            }
            if control.is_frozen {
                return control.held.push(event);
            }
        }
        match process {
            Process::Nemesis => {}
            Process::Client(id) => {
                if let Event::Ended { ticket, ended } = event {
                    let mut clients = self.clients.borrow_mut();
                    clients.entry(id).or_default().push((ticket, ended));
                }
            }
            Process::Proxy(id) => {
                let proxy = self.proxies.borrow().get(&id).cloned();
                if let Some(proxy) = proxy {
                    proxy.happens(event);
                }
            }
            Process::Node(id) => Node::happens(self, id, event),
        }
        self.run(process);
    }

    /// Polls the tasks of a process until none gets any further.
    fn run(self: &Rc<Self>, process: Process) {
        let mut controls = self.controls.borrow_mut();
        let control = controls.entry(process).or_default();
        if control.is_dead {
            return;
        }
        let mut tasks = std::mem::take(&mut control.tasks);
        drop(controls);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            self.progress.set(false);
            let mut spawned = self.spawned.borrow_mut();
            let mut index = 0;
            while index < spawned.len() {
                match spawned[index].0 == process {
                    true => tasks.push(spawned.remove(index).1),
                    false => index += 1,
                }
            }
            drop(spawned);
            let count = tasks.len() as u64;
            let first = if count > 1 {
                self.range(0, count) as usize
            } else {
                0
            };
            tasks.rotate_left(first);
            tasks.retain_mut(|task| {
                !self.is_dead(process) && task.as_mut().poll(&mut context).is_pending()
            });
            if !self.progress.get() {
                break;
            }
        }
        let mut controls = self.controls.borrow_mut();
        let control = controls.entry(process).or_default();
        if !control.is_dead {
            control.tasks = tasks;
        }
    }

    /// Waits until there is something.
    pub(super) fn until<T>(
        self: &Rc<Self>,
        mut look: impl FnMut() -> Option<T>,
    ) -> impl Future<Output = T> {
        let world = self.clone();
        poll_fn(move |_| match look() {
            Some(found) => {
                world.progress.set(true);
                Poll::Ready(found)
            }
            None => Poll::Pending,
        })
    }

    /// Waits until there is something, or a time has come.
    pub(super) fn until_or<T>(
        self: &Rc<Self>,
        process: Process,
        end: Millis,
        mut look: impl FnMut() -> Option<T>,
    ) -> impl Future<Output = Option<T>> {
        if end > self.now() {
            self.schedule(end, process, Event::Timer);
        }
        let world = self.clone();
        self.until(move || {
            let found = look();
            (found.is_some() || world.now() >= end).then_some(found)
        })
    }

    pub(super) async fn sleep(self: &Rc<Self>, process: Process, millis: Millis) {
        let end = self.now() + millis;
        self.until_or(process, end, || None::<()>).await;
    }

    /// Takes everything apart: tasks hold on to the world, and the world to them.
    pub(super) fn end(&self) {
        self.controls.borrow_mut().clear();
        self.spawned.borrow_mut().clear();
        self.queue.borrow_mut().clear();
        self.proxies.borrow_mut().clear();
    }
}
