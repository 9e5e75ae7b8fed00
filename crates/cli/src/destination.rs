//! Where a value that was read goes: a file that is there whole or not at all, or a stream.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// An open file, and where it is to be once it is whole.
#[derive(Debug)]
pub struct Destination {
    file: File,
    /// What the user calls it.
    name: PathBuf,
    /// Its present and its future name, if those differ.
    moves: Option<(PathBuf, PathBuf)>,
}

impl Destination {
    /// Standard output, or the file `path`.
    ///
    /// A regular file is written under a name of its own in the same directory
    /// until [`Destination::complete`]. Devices and pipes are written as they are.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path.filter(|path| *path != "-") else {
            // Without the buffer of `Stdout`, which looks for lines.
            let file = io::stdout().as_fd().try_clone_to_owned()?.into();
            return Ok(Self {
                file,
                name: "standard output".into(),
                moves: None,
            });
        };
        let opened = open(path);
        let (file, moves) =
            opened.with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Self {
            file,
            name: path.into(),
            moves,
        })
    }

    /// The file, to write to.
    ///
    /// # Errors
    ///
    /// If the system has no more of them.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the file its name, in place of what had it before.
    ///
    /// # Errors
    ///
    /// If that is not possible; then the file is removed.
    pub fn complete(mut self) -> Result<()> {
        if let Some((from, to)) = &self.moves {
            fs::rename(from, to).with_context(|| format!("cannot write to {self}"))?;
            self.moves = None;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, Option<(PathBuf, PathBuf)>)> {
    let present = match fs::metadata(path) {
        Ok(present) => Some(present),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(present) = &present
        && !present.is_file()
    {
        return Ok((OpenOptions::new().write(true).open(path)?, None));
    }
    // A link stays one; what it leads to is replaced.
    let target = match &present {
        Some(_) => fs::canonicalize(path)?,
        None if path.file_name().is_some() => path.to_owned(),
        None => return Err(io::ErrorKind::IsADirectory.into()),
    };
    let name = format!(
        ".infinicache-{:016x}.part",
        getrandom::u64().map_err(io::Error::other)?
    );
    let temporary = target.with_file_name(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)?;
    if let Some(present) = present {
        // Where there are no such permissions the file does as it is.
        let _ = file.set_permissions(present.permissions());
    }
    Ok((file, Some((temporary, target))))
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.display().fmt(f)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.moves {
            // There is no caller to tell, and nothing else to do.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    /// An empty directory that goes with its test.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let name = format!("infinicache-test-{:016x}", getrandom::u64().unwrap());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<_> = names
                .map(name)
                .map(|name| name.into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(destination: &Destination, text: &str) {
        destination
            .file()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let directory = Directory::new();
        let path = directory.0.join("copy");
        let destination = Destination::open(Some(&path)).unwrap();
        write(&destination, "half");
        assert!(!path.exists());
        drop(destination);
        assert!(directory.names().is_empty());

        let destination = Destination::open(Some(&path)).unwrap();
        write(&destination, "whole");
        destination.complete().unwrap();
        assert_eq!(directory.names(), ["copy"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions_and_the_links_to_it() {
        let directory = Directory::new();
        let (path, link) = (directory.0.join("file"), directory.0.join("link"));
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        let destination = Destination::open(Some(&link)).unwrap();
        write(&destination, "after");
        destination.complete().unwrap();
        assert_eq!(directory.names(), ["file", "link"]);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        let destination = Destination::open(Some(Path::new("/dev/null"))).unwrap();
        write(&destination, "nothing");
        assert!(destination.moves.is_none());
    }

    #[test]
    fn what_cannot_be_written_is_told_by_its_name() {
        for path in ["/nowhere/file", "/tmp", "/"] {
            let error = Destination::open(Some(Path::new(path))).unwrap_err();
            assert!(error.to_string().ends_with(path), "{error:#}");
        }
    }
}
