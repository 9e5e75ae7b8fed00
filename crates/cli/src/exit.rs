//! With which status the program ends, and what it says then.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use infinicache_client::Error;

/// The statuses, for `--help`.
const STATUSES: &str = "\
Exit status:
  0    done
  1    any other failure
  2    wrong usage
  3    no such key, or a condition that did not hold
  4    the value is lost: too few of its chunks are left
  5    refused: no room, or too large
  6    timed out or unreachable; trying again may help
  130  interrupted";

/// What `--help` shows below the options.
pub fn help(examples: &str) -> String {
    format!("Examples:\n{examples}\n\n{STATUSES}")
}

/// How a command ends that did not do what was asked, though nothing failed.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// There was nothing to do it to.
    #[error("no such key")]
    NoSuchKey,
    /// The key has a value, and should have none.
    #[error("the key has a value already")]
    Present,
    /// The key has no value, and should have one.
    #[error("the key has no value")]
    Absent,
    /// The reader of the output wants no more.
    #[error("the output was closed")]
    OutputClosed,
    /// A signal asked to stop.
    #[error("stopped by signal {0}")]
    Signal(u8),
    /// The arguments are wrong, as was said already.
    #[error("wrong usage")]
    Usage,
}

impl Ending {
    fn status(&self) -> u8 {
        match self {
            Self::NoSuchKey | Self::Present | Self::Absent => 3,
            // As a shell tells of those whom a signal ended: 13 is SIGPIPE.
            Self::OutputClosed => 128 + 13,
            Self::Signal(number) => 128 + number,
            Self::Usage => 2,
        }
    }

    /// Whether the user knows, because he did it himself or was told.
    fn is_known(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Signal(_) | Self::Usage)
    }
}

/// Tells the user what went wrong, in one line, and the system in one number.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let is_known = error
        .chain()
        .any(|cause| cause.downcast_ref().is_some_and(Ending::is_known));
    if !is_known {
        say(format_args!("{error:#}"));
    }
    ExitCode::from(status(error))
}

/// Prints what came of arguments that are no command: a help or a version on standard output, or
/// what is wrong with them on standard error.
///
/// # Errors
///
/// [`Ending::Usage`] if they are wrong, and as of [`unwritten`].
pub fn usage(told: &clap::Error) -> anyhow::Result<()> {
    let printed = told.print();
    if told.use_stderr() {
        // That no reader is left makes it no better.
        return Err(Ending::Usage.into());
    }
    printed.map_err(|error| unwritten("standard output", error))
}

/// Writes a line to standard error. That no reader is left is no reason to fail.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "infinicache: {line}");
}

/// Writes a text to standard output.
///
/// # Errors
///
/// As of [`unwritten`].
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| unwritten("standard output", error))
}

/// Why a command ends that cannot write to `place`: quietly, if its reader has left.
pub fn unwritten(place: impl std::fmt::Display, error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ending::OutputClosed.into(),
        _ => anyhow::Error::new(error).context(format!("cannot write to {place}")),
    }
}

/// The exit status for an error, by whatever of its causes is known.
fn status(error: &anyhow::Error) -> u8 {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| {
        let ending = cause.downcast_ref().map(Ending::status);
        ending.or_else(|| cause.downcast_ref().map(status_of_client))
    };
    error.chain().find_map(of_cause).unwrap_or(1)
}

fn status_of_client(error: &Error) -> u8 {
    match error {
        Error::Miss => 3,
        Error::Lost { .. } => 4,
        Error::OutOfMemory(_) | Error::Refused(_) => 5,
        Error::TimedOut(_) | Error::Unreachable(_) | Error::NoWrite => 6,
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => 6,
        Error::Io(_) | Error::Protocol(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    fn status_of(error: impl std::error::Error + Send + Sync + 'static) -> u8 {
        let failed: anyhow::Result<()> = Err(error).context("cannot get \"x\"");
        status(&failed.context("once more").unwrap_err())
    }

    #[test]
    fn the_status_tells_what_can_be_done_about_an_error() {
        assert_eq!(status(&anyhow!("whatever")), 1);
        assert_eq!(status_of(Error::Miss), 3);
        assert_eq!(status_of(Ending::Present), 3);
        assert_eq!(status_of(Error::Lost { have: 3, need: 10 }), 4);
        assert_eq!(status_of(Error::OutOfMemory("full".into())), 5);
        assert_eq!(status_of(Error::Refused("too large".into())), 5);
        assert_eq!(status_of(Error::TimedOut("no answer")), 6);
        assert_eq!(status_of(Error::Unreachable("nobody".into())), 6);
        assert_eq!(status_of(Error::NoWrite), 6);
        assert_eq!(status_of(Error::Io(io::ErrorKind::NotFound.into())), 1);
        assert_eq!(status_of(Error::Io(io::ErrorKind::TimedOut.into())), 6);
        assert_eq!(status_of(Ending::Signal(2)), 130);
        assert_eq!(status_of(Ending::Usage), 2);
    }

    #[test]
    fn a_reader_that_leaves_is_no_error_but_a_full_disk_is() {
        let left = unwritten("x", io::ErrorKind::BrokenPipe.into());
        assert_eq!(status(&left), 141);
        assert!(left.downcast_ref::<Ending>().unwrap().is_known());
        let full = unwritten("x", io::ErrorKind::StorageFull.into());
        assert_eq!(status(&full), 1);
        assert!(format!("{full:#}").starts_with("cannot write to x: "));
    }
}
