//! One node of the activator: a [`NodeProcesses`] with real processes and a real clock.
//!
//! A task owns the life, the requests that wait and the way to signal each
//! process. Everything else tells it things through one mailbox.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, sync::Arc};

use rustix::process::Signal;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{self, Instant},
};
use tracing::{debug, info, warn};

use super::{
    faults::{Faults, Wakes},
    lifecycle::{NodeProcesses, ProcessAction, ProcessEvent, ProcessTimings, Refusal, Serial},
    process::{self, News, Port},
    status::{NodeStatus, ProcessStatus},
};
use crate::launcher::Launcher;

/// Most requests of one node at once.
const MAX_IN_FLIGHT: usize = 256;

/// The way to a node.
pub struct NodeHandle {
    /// Unbounded, because the end of a request is told from a destructor. What
    /// bounds it are the permits: a request sends three messages, a process three.
    mailbox: mpsc::UnboundedSender<Message>,
    permits: Arc<Semaphore>,
    wakes: watch::Sender<Wakes>,
    status: watch::Receiver<NodeStatus>,
}

enum Message {
    Request(Waiter),
    Event(ProcessEvent),
}

/// Who waits for a process: how to answer, and the right to be in flight.
struct Waiter {
    answer: oneshot::Sender<Result<Admission, Refusal>>,
    permit: OwnedSemaphorePermit,
}

/// The right to send one request to a process. While it is held, the process is not idle.
#[derive(Debug)]
pub struct Admission {
    /// Where the process listens.
    pub address: SocketAddr,
    serial: Serial,
    mailbox: mpsc::UnboundedSender<Message>,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// The process says that it is about to go: requests are for its successor from now on.
    pub(super) fn terminating(&self) {
        let terminating = ProcessEvent::Terminating(self.serial);
        // Fails only when the activator is gone.
        let _ = self.mailbox.send(Message::Event(terminating));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        // Fails only when the activator is gone.
        let _ = self
            .mailbox
            .send(Message::Event(ProcessEvent::Ended(self.serial)));
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(_) => f.write_str("Request"),
            Self::Event(event) => event.fmt(f),
        }
    }
}

impl NodeHandle {
    /// A node without a process, and the task that lives its life until it is stopped.
    pub fn new(
        name: &str,
        launcher: Launcher,
        timing: ProcessTimings,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (mailbox, mail) = mpsc::unbounded_channel();
        let (publish, status) = watch::channel(NodeStatus::default());
        let task = NodeTask {
            name: name.to_owned(),
            launcher,
            processes: NodeProcesses::new(timing),
            waiters: Vec::new(),
            handles: BTreeMap::new(),
            mailbox: mailbox.clone(),
            publish,
        };
        let node = Self {
            mailbox,
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            wakes: watch::Sender::default(),
            status,
        };
        (node, task.run(mail))
    }

    /// Waits until a process is there for one request.
    ///
    /// # Errors
    ///
    /// If there is none in time.
    pub async fn admit(&self) -> Result<Admission, Refusal> {
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Refusal::Busy(MAX_IN_FLIGHT))?;
        let (answer, answered) = oneshot::channel();
        self.mailbox
            .send(Message::Request(Waiter { answer, permit }))
            .map_err(|_| Refusal::Stopping)?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Tells all processes to go, for good.
    pub fn stop(&self) {
        self.tell(ProcessEvent::Stop);
    }

    /// Puts a new process in the place of the one that has the requests, if there is one.
    pub fn replace(&self) {
        self.tell(ProcessEvent::Replace);
    }

    /// Changes what the node suffers.
    pub fn harm(&self, faults: Faults) {
        self.wakes.send_replace(faults.wakes);
        self.tell(ProcessEvent::Starts(faults.start));
    }

    /// What becomes of its wakes.
    pub fn wakes(&self) -> Wakes {
        *self.wakes.borrow()
    }

    fn tell(&self, event: ProcessEvent) {
        // Fails only when everything has ended.
        let _ = self.mailbox.send(Message::Event(event));
    }

    /// What is now.
    pub fn status(&self) -> NodeStatus {
        self.status.borrow().clone()
    }
}

/// How a process is reached.
struct Handle {
    pid: Option<u32>,
    address: SocketAddr,
    signals: mpsc::UnboundedSender<Signal>,
}

struct NodeTask {
    name: String,
    launcher: Launcher,
    processes: NodeProcesses,
    waiters: Vec<Waiter>,
    handles: BTreeMap<Serial, Handle>,
    mailbox: mpsc::UnboundedSender<Message>,
    publish: watch::Sender<NodeStatus>,
}

impl NodeTask {
    async fn run(mut self, mut mail: mpsc::UnboundedReceiver<Message>) {
        while !self.processes.is_over() {
            let due = self.processes.deadline().map(Instant::from_std);
            let actions = tokio::select! {
                Some(message) = mail.recv() => self.take(message),
                () = sleep_until(due) => self.processes.tick(Instant::now().into_std()),
            };
            for action in actions {
                self.act(action);
            }
            self.publish.send_replace(self.status());
        }
    }

    fn take(&mut self, message: Message) -> Vec<ProcessAction> {
        let event = match message {
            Message::Request(waiter) => {
                self.waiters.push(waiter);
                ProcessEvent::Request
            }
            Message::Event(event) => event,
        };
        if let ProcessEvent::Exited(serial, why) = &event {
            let pid = self.handles.remove(serial).and_then(|handle| handle.pid);
            info!(node = %self.name, pid, why, "node process ended");
        }
        self.processes.on(Instant::now().into_std(), event)
    }

    fn act(&mut self, action: ProcessAction) {
        debug!(node = %self.name, ?action, "acting");
        match action {
            ProcessAction::Launch(serial) => self.launch(serial),
            ProcessAction::Admit(serial) => self.admit(serial),
            ProcessAction::Refuse(refusal) => {
                warn!(node = %self.name, reason = %refusal, "requests refused");
                for waiter in self.waiters.drain(..) {
                    let _ = waiter.answer.send(Err(refusal.clone()));
                }
            }
            ProcessAction::Terminate(serial) => self.signal(serial, Signal::TERM),
            ProcessAction::Kill(serial) => self.signal(serial, Signal::KILL),
        }
    }

    fn launch(&mut self, serial: Serial) {
        if let Err(error) = self.try_launch(serial) {
            let exited = ProcessEvent::Exited(serial, error.to_string());
            let _ = self.mailbox.send(Message::Event(exited));
        }
    }

    fn try_launch(&mut self, serial: Serial) -> std::io::Result<()> {
        let port = Port::pick()?;
        let address = port.address();
        let child = self
            .launcher
            .clone()
            .env("PORT", address.port())
            .env("K_SERVICE", &self.name)
            .env("K_REVISION", format!("{}-00001", self.name))
            .env("HOSTNAME", format!("{}-{serial}", self.name))
            .spawn()?;
        let pid = child.id();
        info!(node = %self.name, pid, port = address.port(), "node process started");

        let (signals, incoming) = mpsc::unbounded_channel();
        let mailbox = self.mailbox.clone();
        let tell = move |news| {
            let event = match news {
                News::Healthy => ProcessEvent::Healthy(serial),
                News::Exited(why) => ProcessEvent::Exited(serial, why),
            };
            let _ = mailbox.send(Message::Event(event));
        };
        tokio::spawn(process::watch(child, port, incoming, tell));
        let handle = Handle {
            pid,
            address,
            signals,
        };
        self.handles.insert(serial, handle);
        Ok(())
    }

    fn admit(&mut self, serial: Serial) {
        let Some(handle) = self.handles.get(&serial) else {
            return;
        };
        for Waiter { answer, permit } in self.waiters.drain(..) {
            // One who has left drops the admission, and so ends the request.
            let _ = answer.send(Ok(Admission {
                address: handle.address,
                serial,
                mailbox: self.mailbox.clone(),
                _permit: permit,
            }));
        }
    }

    fn signal(&self, serial: Serial, signal: Signal) {
        if let Some(handle) = self.handles.get(&serial) {
            // Fails only when the process has ended, and the news is on its way.
            let _ = handle.signals.send(signal);
        }
    }

    fn status(&self) -> NodeStatus {
        let processes = self.processes.processes().iter().map(|process| {
            let handle = self.handles.get(&process.serial);
            ProcessStatus {
                serial: process.serial,
                pid: handle.and_then(|handle| handle.pid),
                address: handle.map(|handle| handle.address),
                phase: process.phase,
            }
        });
        NodeStatus {
            started: self.processes.started(),
            processes: processes.collect(),
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
