//! The listener that nodes dial, and the handshake.

use std::{io, sync::Arc, time::Duration};

use infinicache_engine::Mux;
use infinicache_host::task;
use infinicache_socket::{Listener, Stream};
use infinicache_wire::{ByeReason, Decoder, Frame, Outbox, handshake::Hello};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    time,
};
use tracing::{debug, warn};

use super::admit::{Admission, AdmissionError};

/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Handshakes that may be under way at once.
const HANDSHAKES: usize = 256;

/// Accepts nodes for ever.
pub(crate) async fn open(listener: Listener, admission: Arc<Admission>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("never closed");
        let (stream, peer) = infinicache_socket::accept(&listener).await;
        let admission = admission.clone();
        task::spawn(async move {
            match time::timeout(HANDSHAKE_DEADLINE, admit(stream, &admission)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%peer, %error, "node not admitted"),
                Err(_) => warn!(%peer, "node not admitted: no hello in time"),
            }
            drop(slot);
        });
    }
}

async fn admit(mut stream: Stream, admission: &Arc<Admission>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut decoder = Decoder::new().off_pages();
    let frame = read_frame(&mut stream, &mut decoder).await?;
    let hello = Hello::from_frame(&frame).map_err(invalid)?;
    let admitted = match admission.admit(&hello) {
        // It goes on trying for a while, if its platform leaves it running.
        Err(error @ AdmissionError::Replaced(_)) => {
            debug!(%error, "node not admitted");
            return Ok(());
        }
        admitted => admitted.map_err(invalid)?,
    };
    let member = &admitted.member;

    let mut outbox = Outbox::new();
    outbox.push(admitted.welcome.to_frame());
    stream.write_all_buf(&mut outbox).await?;

    let (reader, writer) = stream.into_split();
    let (leaver, leaving) = (admission.clone(), member.clone());
    let mux = Mux::start(
        reader,
        writer,
        decoder,
        move |frame: Frame| match ByeReason::from_frame(&frame) {
            Some(reason) => leaver.goodbye(&leaving, &reason),
            None => debug!(kind = ?frame.header.kind, "frame that answers nothing"),
        },
    );
    admission.linked(&admitted, &hello, &mux);

    let (admission, member) = (admission.clone(), admitted.member);
    task::spawn(async move {
        mux.closed().await;
        admission.unlinked(&member);
    });
    Ok(())
}

async fn read_frame(stream: &mut Stream, decoder: &mut Decoder) -> io::Result<Frame> {
    loop {
        if let Some(frame) = decoder.decode().map_err(invalid)? {
            return Ok(frame);
        }
        if stream.read_buf(&mut decoder.buffer()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
