//! Where in a frame a stream is, told from the bytes that pass.

use infinicache_wire::frame::{HEADER_LEN, Header};

use super::Part;
use crate::random::Random;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Framing {
    header: Vec<u8>,
    /// Bytes of payload that have not passed.
    left: usize,
    /// In how many bytes of this part one is to be changed.
    victim: Option<usize>,
}

impl Framing {
    /// Whether no frame has begun.
    pub(super) fn is_between(&self) -> bool {
        self.header.is_empty() && self.left == 0
    }

    /// Lets bytes pass unchanged.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        self.walk(bytes, &mut |_, _| None);
    }

    /// Lets bytes pass; in one of so many frames a bit of this part is flipped. How many were.
    pub(super) fn corrupt(
        &mut self,
        bytes: &mut [u8],
        part: Part,
        one_in: u64,
        random: &mut Random,
    ) -> usize {
        let mut flips = random.fork();
        let changed = self.walk(bytes, &mut |begun, length| {
            let is_hit = begun == part && length > 0 && random.below(one_in) == 0;
            is_hit.then(|| random.below(length as u64) as usize)
        });
        for &at in &changed {
            bytes[at] ^= 1 << flips.below(8);
        }
        changed.len()
    }

    /// Walks over bytes. Asks at the start of each part which of its bytes is to
    /// be changed, and returns where those are.
    fn walk(
        &mut self,
        bytes: &[u8],
        choose: &mut impl FnMut(Part, usize) -> Option<usize>,
    ) -> Vec<usize> {
        let mut changed = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if self.is_between() {
                self.victim = choose(Part::Header, HEADER_LEN);
            }
            let in_header = self.left == 0;
            let part_left = if in_header {
                HEADER_LEN - self.header.len()
            } else {
                self.left
            };
            let step = part_left.min(bytes.len() - at);
            match self.victim {
                Some(victim) if victim < step => {
                    changed.push(at + victim);
                    self.victim = None;
                }
                Some(victim) => self.victim = Some(victim - step),
                None => {}
            }
            if in_header {
                self.header.extend_from_slice(&bytes[at..at + step]);
                if let Ok(header) = <&[u8; HEADER_LEN]>::try_from(&self.header[..]) {
                    // What is no frame has no payload that we could follow.
                    self.left = Header::decode(header).map_or(0, |it| it.length as usize);
                    self.header.clear();
                    self.victim = choose(Part::Payload, self.left);
                }
            } else {
                self.left -= step;
            }
            at += step;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use infinicache_wire::frame::{Frame, Kind};

    use super::*;

    fn stream() -> Vec<u8> {
        let mut stream = Vec::new();
        for length in [0, 5, 0, 300, 48] {
            let frame = Frame::new(Header::of(Kind::Ping), Bytes::from(vec![7; length]));
            stream.extend(frame.header.encode());
            stream.extend(&frame.payload);
        }
        stream
    }

    /// The places that differ after a corruption in pieces of so many bytes.
    fn hits(part: Part, piece: usize) -> Vec<usize> {
        let mut stream = stream();
        let before = stream.clone();
        let mut framing = Framing::default();
        let mut random = Random::new("framing");
        for piece in stream.chunks_mut(piece) {
            framing.corrupt(piece, part, 1, &mut random);
        }
        assert!(framing.is_between());
        (0..stream.len())
            .filter(|&at| stream[at] != before[at])
            .collect()
    }

    #[test]
    fn of_each_frame_one_byte_of_the_part_is_changed() {
        let starts = [0, 48, 101, 149, 497];
        for piece in [1, 7, 48, 1000] {
            let headers = hits(Part::Header, piece);
            assert_eq!(headers.len(), 5);
            for (at, start) in headers.into_iter().zip(starts) {
                assert!((start..start + 48).contains(&at), "{at}");
            }
            let payloads = hits(Part::Payload, piece);
            assert_eq!(payloads.len(), 3);
            assert!((96..101).contains(&payloads[0]));
            assert!((197..497).contains(&payloads[1]));
            assert!((545..593).contains(&payloads[2]));
        }
    }

    #[test]
    fn what_passes_is_unchanged_and_a_frame_has_an_end() {
        let mut framing = Framing::default();
        let mut bytes = stream();
        framing.pass(&mut bytes[..60]);
        assert!(!framing.is_between());
        framing.pass(&mut bytes[60..101]);
        assert!(framing.is_between());
        assert_eq!(bytes, stream());
    }
}
