//! What a client has shown that it may do, over one link.

use infinicache_host::{clock, hash::HashMap};
use infinicache_wire::{
    Frame, FrameError, Kind, Request, WriteId,
    pass::{Pass, Right},
};

use crate::instance::Identity;

/// Passes that are remembered. A client that shows more begins anew.
const MOST: usize = 4096;

/// The passes of one link: until when each is good, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Passes(HashMap<(WriteId, Right), u64>);

impl Passes {
    /// Takes note of a pass.
    ///
    /// # Errors
    ///
    /// If the frame is none, or it is no good: then the link is of no use.
    pub(crate) fn show(&mut self, frame: &Frame, to: &Identity) -> Result<(), FrameError> {
        let pass = Pass::from_frame(frame)?;
        let now_ms = clock::unix_ms();
        if !pass.is_good(&to.secret, to.instance, now_ms) {
            return Err(FrameError::Malformed(Kind::Pass));
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, until_ms| now_ms < *until_ms);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert((pass.write, pass.right), pass.until_ms);
        Ok(())
    }

    /// Whether one of them covers a request.
    pub(crate) fn allow(&self, request: &Request) -> bool {
        let until_ms = Right::needed(request).and_then(|needed| self.0.get(&needed));
        until_ms.is_some_and(|until_ms| clock::unix_ms() < *until_ms)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{ChunkId, InstanceId, Secret};

    use super::*;

    const MINUTE: u64 = 60_000;

    fn identity() -> Identity {
        Identity {
            name: "node-0".into(),
            instance: InstanceId(7),
            pod: String::new(),
            host: String::new(),
            zone: String::new(),
            secret: Secret::new(b"0123456789abcdef").unwrap(),
        }
    }

    fn write(sequence: u64) -> WriteId {
        let epoch = 1;
        WriteId { epoch, sequence }
    }

    fn get(sequence: u64) -> Request {
        let chunk = ChunkId {
            write: write(sequence),
            index: 0,
        };
        Request::Get {
            chunk,
            unit: 0,
            want: 1,
        }
    }

    fn pass(sequence: u64, right: Right, until_ms: u64) -> Frame {
        let Identity {
            secret, instance, ..
        } = identity();
        Pass::new(&secret, instance, write(sequence), right, until_ms).to_frame()
    }

    #[test]
    fn what_there_is_a_pass_for_is_allowed_and_nothing_else() {
        let (mut passes, until) = (Passes::default(), clock::unix_ms() + MINUTE);
        assert!(!passes.allow(&get(1)));
        passes
            .show(&pass(1, Right::Get, until), &identity())
            .unwrap();
        passes
            .show(&pass(2, Right::Put, until), &identity())
            .unwrap();
        assert!(passes.allow(&get(1)));
        assert!(!passes.allow(&get(2)));
        assert!(!passes.allow(&get(3)));
        assert!(!passes.allow(&Request::Recall));
    }

    #[test]
    fn a_pass_of_the_past_or_for_somebody_else_is_refused() {
        let mut passes = Passes::default();
        let old = pass(1, Right::Get, clock::unix_ms());
        assert!(passes.show(&old, &identity()).is_err());
        let frame = pass(1, Right::Get, clock::unix_ms() + MINUTE);
        let other = Identity {
            instance: InstanceId(8),
            ..identity()
        };
        assert!(passes.show(&frame, &other).is_err());
        assert!(!passes.allow(&get(1)));
    }

    #[test]
    fn passes_take_bounded_memory() {
        let (mut passes, until) = (Passes::default(), clock::unix_ms() + MINUTE);
        for sequence in 0..=MOST as u64 {
            passes
                .show(&pass(sequence, Right::Get, until), &identity())
                .unwrap();
        }
        assert!(passes.0.len() <= MOST);
        assert!(passes.allow(&get(MOST as u64)));
    }
}
