//! How a child process is started, signalled and waited for.

use std::{
    ffi::OsString, fmt, io, path::PathBuf, process::ExitStatus, process::Stdio, time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time,
};

use crate::leash;

/// What to start, and with which environment besides our own.
#[derive(Clone)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables that are added to, or replace, those of this process.
    pub env: Vec<(String, OsString)>,
    /// Variables of this process that it shall not see.
    pub without: Vec<&'static str>,
}

impl fmt::Debug for Launcher {
    /// Without the environment, which holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launcher")
            .field("program", &self.program)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

impl Launcher {
    /// This program, with one of its subcommands.
    ///
    /// # Errors
    ///
    /// If the path of this program cannot be found out.
    pub fn subcommand(name: &str) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec![name.into()],
            env: Vec::new(),
            without: Vec::new(),
        })
    }

    /// The same with another variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.env.push((name.into(), value.to_string().into()));
        self
    }

    /// The same without a variable of ours.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.without.push(name);
        self
    }

    /// Starts a child, on a leash.
    ///
    /// It has its own process group, so that Ctrl-C reaches only us and we
    /// decide the order of departure. Its standard output is dropped: ours
    /// belongs to the user. Dropping the handle kills it.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        for name in &self.without {
            command.env_remove(name);
        }
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs([leash::parent()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Sends a signal to a child, unless it has been reaped.
///
/// Until then its id cannot pass to another process.
pub fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // The only failure is that it ended a moment ago: what we wanted.
        let _ = kill_process(pid, signal);
    }
}

/// Asks a child to go, and after `grace` makes it.
///
/// # Errors
///
/// If it cannot be waited for.
pub async fn stop(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    send(child, Signal::TERM);
    match time::timeout(grace, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            send(child, Signal::KILL);
            child.wait().await
        }
    }
}
