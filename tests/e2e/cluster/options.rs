//! How a cache is started.

use std::{env, net::SocketAddr};

use tokio::process::Command;

/// The arguments and the environment of `infinicache up`.
pub(crate) struct Options {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(&'static str, String)>,
    /// The soft and the hard limit of open files, if they are not those of the tests.
    pub(super) open_files: Option<(u32, u32)>,
}

impl Options {
    /// A small cache of the usual code; `INFINICACHE_LOG` says what it logs, if it is set.
    pub(super) fn new(redis: u16, admin: u16) -> Self {
        let log = env::var("INFINICACHE_LOG").unwrap_or_else(|_| "info".into());
        let options = Self {
            args: Vec::new(),
            env: Vec::new(),
            open_files: None,
        };
        options
            .arg("--port", redis)
            .arg("--admin-port", admin)
            .nodes(14)
            .memory("64MiB")
            .buffer_bytes("64MiB")
            .env("INFINICACHE_FAULTS", true)
            .env("INFINICACHE_LOG", log)
    }

    pub(crate) fn nodes(self, count: usize) -> Self {
        self.arg("--nodes", count)
    }

    pub(crate) fn code(self, data: usize, parity: usize) -> Self {
        self.arg("--data", data).arg("--parity", parity)
    }

    pub(crate) fn memory(self, size: &str) -> Self {
        self.arg("--memory", size)
    }

    pub(crate) fn buffer_bytes(self, size: &str) -> Self {
        self.arg("--buffer-bytes", size)
    }

    pub(crate) fn max_object_bytes(self, size: &str) -> Self {
        self.arg("--max-object-bytes", size)
    }

    pub(crate) fn idle_window(self, time: &str) -> Self {
        self.arg("--idle-window", time)
    }

    /// After how long a silent node is given up.
    pub(crate) fn lost_after(self, time: &str) -> Self {
        self.env("INFINICACHE_NODE_LOST_AFTER", time)
    }

    /// After how long a client that makes no progress is dropped.
    pub(crate) fn stall_timeout(self, time: &str) -> Self {
        self.env("INFINICACHE_STALL_TIMEOUT", time)
    }

    /// How many files each process may have open: the soft and the hard limit.
    pub(crate) fn open_files(self, soft: u32, hard: u32) -> Self {
        Self {
            open_files: Some((soft, hard)),
            ..self
        }
    }

    /// The port where the proxy takes nodes, and where they are told to dial instead.
    pub(super) fn dial(self, port: u16, advertised: SocketAddr) -> Self {
        self.arg("--node-port", port).arg("--advertise", advertised)
    }

    /// How long a process is left in peace once it was decided that it goes, and
    /// how long it may take to go.
    pub(crate) fn stop_after(self, term_delay: &str, grace: &str) -> Self {
        self.arg("--term-delay", term_delay).arg("--grace", grace)
    }

    /// The command that starts it.
    pub(super) fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_infinicache");
        let mut command = match self.open_files {
            None => Command::new(program),
            Some((soft, hard)) => {
                let limits = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
                let mut shell = Command::new("sh");
                shell.args(["-c", &limits, program]);
                shell
            }
        };
        command.arg("up").args(&self.args);
        command.envs(self.env.iter().cloned());
        command
    }

    /// Sets an option; the last of a name counts.
    fn arg(mut self, name: &str, value: impl ToString) -> Self {
        if let Some(at) = self.args.iter().position(|arg| arg == name) {
            self.args.drain(at..at + 2);
        }
        self.args.extend([name.into(), value.to_string()]);
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl ToString) -> Self {
        self.env.push((name, value.to_string()));
        self
    }
}
