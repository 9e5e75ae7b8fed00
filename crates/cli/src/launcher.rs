//! How a child process is started, signalled and waited for.

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    process::{self, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time,
};

use crate::leash;

/// On Linux, the program of the process that looks: the very file that it was started from,
/// whatever has its name by now. A rebuild replaces that, and a later build is not to be mixed
/// with this one.
const RUNNING: &str = "/proc/self/exe";

/// Where this program can be started from again.
///
/// # Errors
///
/// If that cannot be found out.
pub fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(RUNNING.into());
    }
    env::current_exe()
}

/// A command that starts `program`; one that is started from [`this_program`] is called as we are.
pub fn command(program: &Path) -> process::Command {
    use std::os::unix::process::CommandExt;

    let mut command = process::Command::new(program);
    if program == RUNNING {
        command.arg0(our_name());
    }
    command
}

/// Gives this process the name of its program. The system calls one that was started from
/// [`this_program`] `exe`, which tells `ps` and `pkill` nothing.
pub fn take_name() {
    if let Some(name) = Path::new(&our_name()).file_name()
        && cfg!(target_os = "linux")
    {
        // Without it everything works as well.
        let _ = fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
}

fn our_name() -> OsString {
    let name = env::args_os().next();
    name.unwrap_or_else(|| env!("CARGO_PKG_NAME").into())
}

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
            program: this_program()?,
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
        let mut command = Command::from(command(&self.program));
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
