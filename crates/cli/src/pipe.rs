//! Files, pipes and terminals at the ends of a transfer.
//!
//! The system reads and writes them only by blocking, so each gets a thread. A
//! thread works a little ahead: while one piece is coded and sent, the next is
//! read. It is left behind when the program ends, since a terminal may keep it
//! for ever.

use std::{
    fs::File,
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
    time::SystemTime,
};

use bytes::{Buf, Bytes};
use rustix::{buffer::spare_capacity, io::Errno};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::{mpsc, oneshot},
};

/// Bytes that are read at once: the thread is changed a thousand times a gigabyte.
const BLOCK: usize = 1 << 20;

/// Blocks that may have been read ahead, besides the one being read.
const BLOCKS_AHEAD: usize = 2;

/// Pieces that may wait to be written. The client's budget limits their bytes.
const PIECES_WAITING: usize = 16;

/// What is read from a file, block by block.
pub struct Intake {
    blocks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Intake {
    /// Begins to read `file` from where it stands.
    ///
    /// Of one that was told to be `whole`, the last of its bytes are given only if it has not
    /// been changed since: what was read of it might never have been in it at once.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn new(file: File, whole: Option<Whole>) -> io::Result<Self> {
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let read = move || {
            let mut total = 0;
            loop {
                let block = read_block(&file).and_then(|block| {
                    total += block.len() as u64;
                    let check = |whole: Whole| whole.check(&file, total, block.is_empty());
                    whole.map_or(Ok(()), check)?;
                    Ok(block)
                });
                let is_last = !matches!(&block, Ok(bytes) if !bytes.is_empty());
                if sender.blocking_send(block).is_err() || is_last {
                    return;
                }
            }
        };
        thread::Builder::new().name("intake".into()).spawn(read)?;
        Ok(Self {
            blocks,
            current: Bytes::new(),
        })
    }
}

/// What a regular file was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its length in bytes.
    pub length: u64,
    modified: SystemTime,
}

impl Whole {
    /// What a file is now; nothing if it has no length, as a pipe, or what the kernel makes up
    /// as it is read and claims to be empty.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        let (is_file, length) = (metadata.is_file(), metadata.len());
        let modified = metadata.modified()?;
        Ok((is_file && length > 0).then_some(Self { length, modified }))
    }

    /// Whether `total` bytes that were read, up to its end or not, can be the file.
    fn check(self, file: &File, total: u64, is_end: bool) -> io::Result<()> {
        let is_over = is_end || total >= self.length;
        let is_same = !is_over || total == self.length && Self::of(file)? == Some(self);
        is_same
            .then_some(())
            .ok_or_else(|| io::Error::other("the file changed as it was read"))
    }
}

/// The bytes that come next, as many as are there; none at the end.
fn read_block(file: &File) -> io::Result<Bytes> {
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        match rustix::io::read(file, spare_capacity(&mut block)) {
            Ok(_) => return Ok(block.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl AsyncRead for Intake {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.blocks.poll_recv(context)) {
                Some(block) => self.current = block?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// What is written to a file, piece by piece.
pub struct Outlet {
    pieces: mpsc::Sender<Bytes>,
    written: oneshot::Receiver<io::Result<()>>,
}

impl Outlet {
    /// Writes to `file` from where it stands.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn new(mut file: File) -> io::Result<Self> {
        let (pieces, mut waiting) = mpsc::channel::<Bytes>(PIECES_WAITING);
        let (done, written) = oneshot::channel();
        let write = move || {
            let mut outcome = Ok(());
            while let Some(piece) = waiting.blocking_recv() {
                outcome = file.write_all(&piece);
                if outcome.is_err() {
                    break;
                }
            }
            drop(waiting);
            let _ = done.send(outcome);
        };
        thread::Builder::new().name("outlet".into()).spawn(write)?;
        Ok(Self { pieces, written })
    }

    /// Gives a piece to be written; whether there is any use in more.
    ///
    /// If not, [`Outlet::finish`] tells why.
    pub async fn write(&mut self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// Why a piece could not be.
    pub async fn finish(self) -> io::Result<()> {
        drop(self.pieces);
        let gone = |_| Err(io::Error::other("the writing thread panicked"));
        self.written.await.unwrap_or_else(gone)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::pipe, os::fd::OwnedFd};

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_goes_into_an_outlet_comes_out_of_an_intake() {
        let (reader, writer) = pipe().unwrap();
        let mut outlet = Outlet::new(OwnedFd::from(writer).into()).unwrap();
        let mut intake = Intake::new(OwnedFd::from(reader).into(), None).unwrap();
        let pieces: Vec<Bytes> = (1..100u8)
            .map(|i| vec![i; usize::from(i) * 1000].into())
            .collect();
        let writing = async {
            for piece in &pieces {
                assert!(outlet.write(piece.clone()).await);
            }
            outlet.finish().await.unwrap();
        };
        let mut read = Vec::new();
        let ((), length) = tokio::join!(writing, intake.read_to_end(&mut read));
        assert_eq!(length.unwrap(), read.len());
        assert!(read == pieces.concat());
    }

    #[tokio::test]
    async fn an_outlet_whose_reader_left_says_so() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut outlet = Outlet::new(OwnedFd::from(writer).into()).unwrap();
        while outlet.write(Bytes::from_static(b"to nobody")).await {}
        let error = outlet.finish().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// Reads a file of eight blocks that is changed when the first has been given: more of it is
    /// not read ahead than three.
    async fn read_while(change: impl FnOnce(&mut File)) -> io::Result<Vec<u8>> {
        let name = format!("infinicache-test-{:016x}", getrandom::u64().unwrap());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, vec![7; 8 * BLOCK]).unwrap();
        let file = File::open(&path).unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        // Clocks of files are coarse.
        writer.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let whole = Whole::of(&file).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut intake = Intake::new(file, whole).unwrap();
        let mut read = vec![0; BLOCK];
        intake.read_exact(&mut read).await?;
        change(&mut writer);
        intake.read_to_end(&mut read).await?;
        Ok(read)
    }

    #[tokio::test]
    async fn the_last_bytes_of_a_file_that_changed_are_not_given() {
        let read = read_while(|_| {}).await.unwrap();
        assert!(read == vec![7; 8 * BLOCK]);
        let grows = |file: &mut File| file.write_all(b"more").unwrap();
        let shrinks = |file: &mut File| file.set_len(BLOCK as u64).unwrap();
        let changes = |file: &mut File| {
            shrinks(file);
            file.write_all(&[8; 7 * BLOCK]).unwrap();
        };
        let changes: [&dyn Fn(&mut File); 3] = [&grows, &shrinks, &changes];
        for change in changes {
            let error = read_while(change).await.unwrap_err();
            assert_eq!(error.to_string(), "the file changed as it was read");
        }
    }

    #[tokio::test]
    async fn an_intake_tells_what_cannot_be_read() {
        let mut intake = Intake::new(File::open("/").unwrap(), None).unwrap();
        let error = intake.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
