//! One direction of one connection.

use std::{
    future,
    sync::{OnceLock, atomic::Ordering::Relaxed},
    time::Duration,
};

use infinicache_wire::frame::{HEADER_LEN, Header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    time::{self, Instant},
};

use super::{Fault, Suffered, Suffering, framing::Framing};
use crate::random::Random;

/// Most bytes that are taken at once.
const PIECE: usize = 16 << 10;

/// Most pieces on their way: what a long wire holds.
const ON_THEIR_WAY: usize = 64;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
}

pub(super) struct Lane<'a> {
    /// The name in the node's hello, once it has passed.
    name: &'a OnceLock<String>,
    suffered: Suffered,
    random: Random,
}

impl<'a> Lane<'a> {
    pub(super) fn new(name: &'a OnceLock<String>, suffered: Suffered, random: Random) -> Self {
        Self {
            name,
            suffered,
            random,
        }
    }

    /// Carries what one side says to the other until the end.
    pub(super) async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> End {
        let (give, take) = mpsc::channel(ON_THEIR_WAY);
        let writer = Writer {
            name: self.name,
            suffering: self.suffered.suffering.clone(),
        };
        let reading = self.read(from, give);
        let writing = writer.write(to, take);
        tokio::pin!(reading, writing);
        tokio::select! {
            end = &mut reading => match end {
                // What was taken before still arrives.
                End::Closed => writing.await,
                End::Reset => End::Reset,
            },
            end = &mut writing => end,
        }
    }

    async fn read(mut self, mut from: ReadHalf<'_>, give: mpsc::Sender<(Instant, Vec<u8>)>) -> End {
        let mut framing = Framing::default();
        let mut head = Vec::new();
        let mut carried = 0;
        let mut swallowed = false;
        // How many bytes end the connection, if that is what it suffers.
        let mut doom = None;
        loop {
            let fault = fault(self.name, &self.suffered.suffering);
            if swallowed && fault != Fault::HalfOpen {
                return End::Reset;
            }
            if fault == Fault::Paused {
                self.harmed(1);
                changed(&mut self.suffered.suffering).await;
                continue;
            }
            let mut piece = Vec::with_capacity(PIECE);
            let read = tokio::select! {
                read = from.read_buf(&mut piece) => read,
                () = changed(&mut self.suffered.suffering) => continue,
            };
            if fault == Fault::HalfOpen {
                swallowed = true;
                self.harmed(1);
                if !matches!(read, Ok(1..)) {
                    changed(&mut self.suffered.suffering).await;
                }
                continue;
            }
            match read {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(_) => return End::Reset,
            }
            self.learn_name(&mut head, &piece);
            match fault {
                Fault::Reset(after) | Fault::CutOff(after) => {
                    let random = &mut self.random;
                    let doom = *doom.get_or_insert_with(|| carried + random.below(after.max(1)));
                    if carried + piece.len() as u64 > doom {
                        self.harmed(1);
                        if let Fault::Reset(_) = fault {
                            return End::Reset;
                        }
                        let kept = cut(&mut framing, &piece, (doom - carried) as usize);
                        let _ = give.send((Instant::now(), piece[..kept].to_vec())).await;
                        return End::Closed;
                    }
                    framing.pass(&mut piece);
                }
                Fault::Corrupt(part, one_in) => {
                    doom = None;
                    let changed = framing.corrupt(&mut piece, part, one_in, &mut self.random);
                    self.harmed(changed);
                }
                _ => {
                    doom = None;
                    framing.pass(&mut piece);
                    self.harmed(usize::from(fault != Fault::None));
                }
            }
            carried += piece.len() as u64;
            let delay = match fault {
                Fault::Late(delay) => delay,
                _ => Duration::ZERO,
            };
            if give.send((Instant::now() + delay, piece)).await.is_err() {
                return End::Closed;
            }
        }
    }

    fn harmed(&self, times: usize) {
        self.suffered.harmed.fetch_add(times as u64, Relaxed);
    }

    /// Looks for the name in the first frame that passes, which is the hello of the node
    /// or the proxy's welcome.
    fn learn_name(&self, head: &mut Vec<u8>, piece: &[u8]) {
        if self.name.get().is_some() {
            return;
        }
        head.extend_from_slice(piece);
        let Some((header, payload)) = head.split_first_chunk::<HEADER_LEN>() else {
            return;
        };
        let Ok(header) = Header::decode(header) else {
            return;
        };
        let Some(hello) = payload.get(..header.length as usize) else {
            return;
        };
        let hello: serde_json::Value = serde_json::from_slice(hello).unwrap_or_default();
        if let Some(name) = hello["node"].as_str() {
            let _ = self.name.set(name.to_owned());
        }
    }
}

/// The other end of a lane.
struct Writer<'a> {
    name: &'a OnceLock<String>,
    suffering: watch::Receiver<Suffering>,
}

impl Writer<'_> {
    async fn write(
        self,
        mut to: WriteHalf<'_>,
        mut take: mpsc::Receiver<(Instant, Vec<u8>)>,
    ) -> End {
        while let Some((due, piece)) = take.recv().await {
            time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return End::Reset;
            }
            if let Fault::Slow(rate) = fault(self.name, &self.suffering) {
                let seconds = piece.len() as f64 / rate.max(1) as f64;
                time::sleep(Duration::from_secs_f64(seconds)).await;
            }
        }
        End::Closed
    }
}

fn fault(name: &OnceLock<String>, suffering: &watch::Receiver<Suffering>) -> Fault {
    let suffering = suffering.borrow();
    let own = name.get().and_then(|name| suffering.nodes.get(name));
    *own.unwrap_or(&suffering.all)
}

async fn changed(suffering: &mut watch::Receiver<Suffering>) {
    if suffering.changed().await.is_err() {
        future::pending::<()>().await;
    }
}

/// How much of a piece is kept when the stream shall end at `at`, or a little later: within a frame.
fn cut(framing: &mut Framing, piece: &[u8], at: usize) -> usize {
    let mut piece = piece.to_vec();
    framing.pass(&mut piece[..at]);
    let mut at = at;
    while framing.is_between() && at < piece.len() {
        framing.pass(&mut piece[at..=at]);
        at += 1;
    }
    at
}
