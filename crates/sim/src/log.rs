//! What the programs log is the log of the simulation, and tells why values may have gone.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use infinicache_host::simulation::Process;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    history::{History, key_of, now},
    scenario::{Faults, Scenario},
};

/// Writes down what is logged. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_kept: bool,
    faults: Faults,
    parity: usize,
    spans: AtomicU64,
    lines: Mutex<Vec<String>>,
    history: Mutex<History>,
    /// The names of proxies that know of a later one.
    fenced: Mutex<BTreeSet<String>>,
}

impl Log {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self(Arc::new(Inner {
            is_kept: scenario.log,
            faults: scenario.faults,
            parity: scenario.shape().1,
            spans: AtomicU64::new(0),
            lines: Mutex::default(),
            history: Mutex::default(),
            fenced: Mutex::default(),
        }))
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().expect("a history does not panic")
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lines.lock().expect("plain data"))
    }

    /// Whether a proxy knows of a later one.
    pub(crate) fn is_fenced(&self, proxy: &Process) -> bool {
        let fenced = self.0.fenced.lock().expect("plain data");
        fenced.contains(proxy.name())
    }

    /// What it means for clients.
    fn interpret(&self, line: &Line) {
        let mut history = self.history();
        match &*line.message {
            "value removed" => {
                let reason = line.field("reason");
                // What clients ask for they are told themselves.
                if !matches!(reason, "deleted" | "replaced")
                    && let Some(key) = key_of(line.field("key"))
                {
                    history.may_vanish(key, None, now());
                }
            }
            // A value that was written while so few nodes could be used has less parity.
            "object lost" if line.field("members").split(',').count() > self.0.parity => {
                history.losses += 1;
            }
            // Within the tolerance nothing explains a miss: what is counted here is what was left
            // of writes that never were committed. Beyond it, what only members held that were
            // not heard is not found, so nobody can tell how much that was.
            "the cache is open" if self.0.faults != Faults::Within => {
                history.losses += line.field("lost").parse().unwrap_or(0);
                history.all_may_vanish(now());
            }
            "too few members of the last view were heard: what the pool held is lost" => {
                history.undecided += 1;
                history.all_may_vanish(now());
            }
            "too many members are lost for a quorum to store the view: the pool goes on with the rest" =>
            {
                history.forced += 1;
                history.all_may_vanish(now());
            }
            "a node follows a later run of the proxy" => {
                let proxy = Process::current().map(|it| it.name().to_owned());
                let mut fenced = self.0.fenced.lock().expect("plain data");
                fenced.extend(proxy);
            }
            _ => {}
        }
    }
}

/// Messages that matter to clients.
const MATTERS: &str = "infinicache_proxy";

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours = target.starts_with("infinicache");
        match *metadata.level() {
            Level::ERROR | Level::WARN => is_ours,
            Level::INFO => is_ours && (self.0.is_kept || target.starts_with(MATTERS)),
            Level::DEBUG => is_ours && self.0.is_kept,
            Level::TRACE => target == "infinicache_proxy::cache::delete",
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.0.spans.fetch_add(1, Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if event.metadata().target().starts_with(MATTERS) {
            self.interpret(&line);
        }
        if self.0.is_kept {
            let process = Process::current();
            let name = process.as_ref().map_or("world", Process::name);
            let level = event.metadata().level();
            let mut text = format!("{:>6} {name} {level} {}", now(), line.message);
            for (field, value) in &line.fields {
                let _ = write!(text, " {field}={value}");
            }
            self.0.lines.lock().expect("plain data").push(text);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| *field == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.fields.push((name, value.to_owned())),
        }
    }
}
