//! The life of one node name: which processes it has, and what is to be done with them.
//!
//! ```text
//!          request             healthy                idle                 drained
//! (asleep) -------> Starting ----------> Serving ----------> Drained -----------> Leaving
//!                      |                                                             |
//!                      | too late                                         grace over |
//!                      +------------------------> Killed <---------------------------+
//! ```
//!
//! A process that terminates though nothing here asked it to, because it
//! got SIGTERM from elsewhere, goes from Serving to Leaving.
//!
//! Every state is left at once when the process exits. At most one process is
//! Starting or Serving: the *current* one, which has the requests. Any number
//! may be on their way out beside it.
//!
//! Nothing here starts a process or reads a clock: events and the time come
//! in, actions go out.

use std::time::{Duration, Instant};

use super::faults::Start;

/// Which process of its name, counted from 1.
pub type Serial = u64;

/// How long everything may take.
#[derive(Clone, Copy, Debug)]
pub struct ProcessTimings {
    /// From the start of a process to its first healthy answer.
    pub start: Duration,
    /// Without any request in flight, until a process gets SIGTERM.
    pub idle_window: Duration,
    /// From there to its SIGTERM; Knative takes 30 s.
    pub term_delay: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// From SIGTERM to SIGKILL when the whole activator stops.
    pub stop_grace: Duration,
    /// From a request to the head of its answer, once the process is healthy.
    pub answer: Duration,
}

impl Default for ProcessTimings {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            idle_window: Duration::from_secs(60),
            term_delay: Duration::ZERO,
            grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(1),
            answer: Duration::from_secs(300),
        }
    }
}

/// What happens.
#[derive(Clone, Debug)]
pub enum ProcessEvent {
    /// A request wants a process.
    Request,
    /// A request that was admitted is over.
    Ended(Serial),
    /// A process answered that it is healthy.
    Healthy(Serial),
    /// A process ended, or could not be started: why.
    Exited(Serial, String),
    /// A process says that it is about to go, though it was not asked to.
    Terminating(Serial),
    /// The platform wants another process in the place of the current one.
    Replace,
    /// What becomes of processes that are started from now on.
    Starts(Start),
    /// Everything shall end.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessAction {
    /// Start a process.
    Launch(Serial),
    /// Send all requests that wait to this process.
    Admit(Serial),
    /// Answer all requests that wait with this.
    Refuse(Refusal),
    /// Send SIGTERM.
    Terminate(Serial),
    /// Send SIGKILL.
    Kill(Serial),
}

/// Why a request gets no process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The process ended before it was healthy.
    #[error("the node process did not start: {0}")]
    Failed(String),
    /// The process was not healthy in time, and has been killed.
    #[error("the node process was not healthy within {0:?}")]
    Late(Duration),
    /// Too many requests are in flight.
    #[error("{0} requests are in flight already")]
    Busy(usize),
    /// The activator is stopping.
    #[error("shutting down")]
    Stopping,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessPhase {
    /// Started, not healthy yet.
    Starting {
        /// When it is given up.
        until: Instant,
        /// What becomes of it.
        start: Start,
        /// When it is taken to be healthy, if it has said that it is.
        healthy_at: Option<Instant>,
    },
    /// Has the requests.
    Serving {
        /// How many are in flight.
        in_flight: usize,
        /// Since when none is, if none is.
        quiet_since: Instant,
    },
    /// Gets no request any more, and does not know it yet.
    Drained {
        /// When it is told.
        term_at: Instant,
    },
    /// Told to go.
    Leaving {
        /// When it is made to.
        kill_at: Instant,
    },
    /// Made to go.
    Killed,
}

/// One process of the name.
#[derive(Clone, Debug)]
pub struct Process {
    /// Which one.
    pub serial: Serial,
    /// Since when.
    pub since: Instant,
    /// Where it is in its life.
    pub phase: ProcessPhase,
}

/// All processes of one name, oldest first.
#[derive(Debug)]
pub struct NodeProcesses {
    timing: ProcessTimings,
    starts: Start,
    started: Serial,
    processes: Vec<Process>,
    waiting: usize,
    stopping: bool,
}

impl NodeProcesses {
    /// A name without a process.
    pub fn new(timing: ProcessTimings) -> Self {
        Self {
            timing,
            starts: Start::default(),
            started: 0,
            processes: Vec::new(),
            waiting: 0,
            stopping: false,
        }
    }

    /// The processes that have not exited.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// How many have ever been started.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Whether everything has ended, as was asked.
    pub fn is_over(&self) -> bool {
        self.stopping && self.processes.is_empty()
    }

    /// Takes an event.
    pub fn on(&mut self, now: Instant, event: ProcessEvent) -> Vec<ProcessAction> {
        match event {
            ProcessEvent::Request => self.request(now),
            ProcessEvent::Ended(serial) => self.ended(now, serial),
            ProcessEvent::Healthy(serial) => self.healthy(now, serial),
            ProcessEvent::Exited(serial, why) => self.exited(serial, why),
            ProcessEvent::Terminating(serial) => self.terminating(now, serial),
            ProcessEvent::Replace => self.replace(now),
            ProcessEvent::Starts(start) => {
                self.starts = start;
                Vec::new()
            }
            ProcessEvent::Stop => self.stop(now),
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let due = |process: &Process| match process.phase {
            ProcessPhase::Starting {
                until, healthy_at, ..
            } => Some(healthy_at.map_or(until, |at| at.min(until))),
            ProcessPhase::Serving {
                in_flight: 0,
                quiet_since,
            } => Some(quiet_since + self.timing.idle_window),
            ProcessPhase::Serving { .. } | ProcessPhase::Killed => None,
            ProcessPhase::Drained { term_at } => Some(term_at),
            ProcessPhase::Leaving { kill_at } => Some(kill_at),
        };
        self.processes.iter().filter_map(due).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) -> Vec<ProcessAction> {
        let mut actions = Vec::new();
        while self.deadline().is_some_and(|due| due <= now) {
            for index in 0..self.processes.len() {
                self.advance(now, index, &mut actions);
            }
        }
        actions
    }

    /// Moves one process on, if its time has come.
    fn advance(&mut self, now: Instant, index: usize, actions: &mut Vec<ProcessAction>) {
        let ProcessTimings {
            start,
            idle_window,
            term_delay,
            grace,
            ..
        } = self.timing;
        let Process { serial, phase, .. } = &mut self.processes[index];
        match *phase {
            ProcessPhase::Starting { until, .. } if until <= now => {
                *phase = ProcessPhase::Killed;
                actions.push(ProcessAction::Kill(*serial));
                self.refuse(Refusal::Late(start), actions);
            }
            ProcessPhase::Starting {
                healthy_at: Some(at),
                ..
            } if at <= now => {
                *phase = ProcessPhase::Serving {
                    in_flight: std::mem::take(&mut self.waiting),
                    quiet_since: now,
                };
                actions.push(ProcessAction::Admit(*serial));
            }
            ProcessPhase::Serving {
                in_flight: 0,
                quiet_since,
            } if quiet_since + idle_window <= now => {
                *phase = ProcessPhase::Drained {
                    term_at: now + term_delay,
                };
            }
            ProcessPhase::Drained { term_at } if term_at <= now => {
                *phase = ProcessPhase::Leaving {
                    kill_at: now + grace,
                };
                actions.push(ProcessAction::Terminate(*serial));
            }
            ProcessPhase::Leaving { kill_at } if kill_at <= now => {
                *phase = ProcessPhase::Killed;
                actions.push(ProcessAction::Kill(*serial));
            }
            _ => {}
        }
    }

    fn request(&mut self, now: Instant) -> Vec<ProcessAction> {
        if self.stopping {
            return vec![ProcessAction::Refuse(Refusal::Stopping)];
        }
        for Process { serial, phase, .. } in &mut self.processes {
            match phase {
                ProcessPhase::Serving { in_flight, .. } => {
                    *in_flight += 1;
                    return vec![ProcessAction::Admit(*serial)];
                }
                ProcessPhase::Starting { .. } => {
                    self.waiting += 1;
                    return Vec::new();
                }
                ProcessPhase::Drained { .. }
                | ProcessPhase::Leaving { .. }
                | ProcessPhase::Killed => {}
            }
        }
        self.waiting += 1;
        self.launch(now)
    }

    /// Starts another process.
    fn launch(&mut self, now: Instant) -> Vec<ProcessAction> {
        self.started += 1;
        self.processes.push(Process {
            serial: self.started,
            since: now,
            phase: ProcessPhase::Starting {
                until: now + self.timing.start,
                start: self.starts,
                healthy_at: None,
            },
        });
        let mut actions = vec![ProcessAction::Launch(self.started)];
        if self.starts == Start::Fails {
            // It is still Starting when it has exited, and so has failed to.
            actions.push(ProcessAction::Kill(self.started));
        }
        actions
    }

    /// As the platform removes a pod: its successor comes at once, and the pod
    /// itself hears of it later. One that is only starting is as good as new.
    fn replace(&mut self, now: Instant) -> Vec<ProcessAction> {
        let is_serving =
            |process: &&mut Process| matches!(process.phase, ProcessPhase::Serving { .. });
        let Some(current) = self.processes.iter_mut().find(is_serving) else {
            return Vec::new();
        };
        current.phase = ProcessPhase::Drained {
            term_at: now + self.timing.term_delay,
        };
        self.launch(now)
    }

    fn terminating(&mut self, now: Instant, terminating: Serial) -> Vec<ProcessAction> {
        let kill_at = now + self.timing.grace;
        for Process { serial, phase, .. } in &mut self.processes {
            if *serial == terminating && matches!(phase, ProcessPhase::Serving { .. }) {
                *phase = ProcessPhase::Leaving { kill_at };
            }
        }
        Vec::new()
    }

    fn ended(&mut self, now: Instant, ended: Serial) -> Vec<ProcessAction> {
        for Process { serial, phase, .. } in &mut self.processes {
            if let ProcessPhase::Serving {
                in_flight,
                quiet_since,
            } = phase
                && *serial == ended
            {
                *in_flight -= 1;
                *quiet_since = now;
            }
        }
        Vec::new()
    }

    fn healthy(&mut self, now: Instant, healthy: Serial) -> Vec<ProcessAction> {
        for process in &mut self.processes {
            if let ProcessPhase::Starting {
                start, healthy_at, ..
            } = &mut process.phase
                && process.serial == healthy
                && matches!(start, Start::Well | Start::SlowMs(_))
            {
                *healthy_at = Some(process.since + start.delay());
            }
        }
        self.tick(now)
    }

    fn exited(&mut self, exited: Serial, why: String) -> Vec<ProcessAction> {
        let mut actions = Vec::new();
        let Some(index) = self.processes.iter().position(|p| p.serial == exited) else {
            return actions;
        };
        let process = self.processes.remove(index);
        if matches!(process.phase, ProcessPhase::Starting { .. }) {
            self.refuse(Refusal::Failed(why), &mut actions);
        }
        actions
    }

    fn stop(&mut self, now: Instant) -> Vec<ProcessAction> {
        let mut actions = Vec::new();
        self.stopping = true;
        self.refuse(Refusal::Stopping, &mut actions);
        let end = now + self.timing.stop_grace;
        for Process { serial, phase, .. } in &mut self.processes {
            match phase {
                ProcessPhase::Starting { .. }
                | ProcessPhase::Serving { .. }
                | ProcessPhase::Drained { .. } => {
                    *phase = ProcessPhase::Leaving { kill_at: end };
                    actions.push(ProcessAction::Terminate(*serial));
                }
                ProcessPhase::Leaving { kill_at } => *kill_at = end.min(*kill_at),
                ProcessPhase::Killed => {}
            }
        }
        actions
    }

    fn refuse(&mut self, refusal: Refusal, actions: &mut Vec<ProcessAction>) {
        if std::mem::take(&mut self.waiting) > 0 {
            actions.push(ProcessAction::Refuse(refusal));
        }
    }
}

#[cfg(test)]
mod tests;
