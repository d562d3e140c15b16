//! Sealing and opening frames: AES-256-GCM, the header as additional data.
//!
//! Nonce = epoch (4) | lane (2) | packet number (6): never used twice under a key, because a sender's epoch is used
//! once and packet numbers count up. Every direction and epoch has its own key, derived from the link's by HKDF.
//! Without a link key the same tag is computed under a public constant over header and symbol: it finds corruption
//! and keeps the format one, but proves nothing about the sender.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;

use super::frame::FrameError;
use super::{HEADER_LEN, Header, TAG_LEN};

/// Stands in for the link key where there is none. Public by purpose.
const PUBLIC_KEY: [u8; 32] = *b"diode relay: unsealed, checksum.";
const SALT: &[u8] = b"diode relay link 1";

/// The link's pre-shared key, or its absence.
#[derive(Clone)]
pub struct LinkKey(Option<[u8; 32]>);

impl LinkKey {
    /// Frames are encrypted and authenticated.
    pub fn sealed(key: [u8; 32]) -> Self {
        Self(Some(key))
    }

    /// Frames are only guarded against corruption.
    pub fn unsealed() -> Self {
        Self(None)
    }

    /// Is there a key?
    pub fn is_sealed(&self) -> bool {
        self.0.is_some()
    }

    fn derive(&self, direction: Direction, epoch: u32) -> LessSafeKey {
        let secret = self.0.as_ref().unwrap_or(&PUBLIC_KEY);
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        let info: [&[u8]; 2] = [&[direction as u8], &epoch.to_be_bytes()];
        let okm = prk.expand(&info, &AES_256_GCM).expect("32 bytes are within HKDF-SHA256's limit");
        LessSafeKey::new(UnboundKey::from(okm))
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_sealed() { "LinkKey(sealed)" } else { "LinkKey(unsealed)" })
    }
}

/// Which way a link goes. Each way has its own keys, so that frames cannot be reflected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// BLUE to RED.
    Forward = 0,
    /// RED to BLUE, over the return link.
    Return = 1,
}

fn nonce(header: &Header) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&header.epoch.to_be_bytes());
    bytes[4..6].copy_from_slice(&header.lane.to_be_bytes());
    bytes[6..].copy_from_slice(&header.packet_number.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(bytes)
}

/// Seals the frames of one sender's epoch.
#[derive(Debug)]
pub struct Sealer {
    key: LessSafeKey,
    sealed: bool,
    epoch: u32,
}

impl Sealer {
    /// Derives the key of `epoch`.
    pub fn new(key: &LinkKey, direction: Direction, epoch: u32) -> Self {
        Self { key: key.derive(direction, epoch), sealed: key.is_sealed(), epoch }
    }

    /// Makes a frame around `symbol`: `frame` is [`FRAME_OVERHEAD`](super::FRAME_OVERHEAD) bytes longer. The cipher reads the
    /// symbol where it is and writes it where it belongs, so that nothing is copied besides.
    /// Epoch and sealing are this sealer's, whatever `header` says. The packet number must be fresh for its lane.
    #[inline]
    pub fn seal(&self, header: &Header, symbol: &[u8], frame: &mut [u8]) {
        let header = Header { sealed: self.sealed, epoch: self.epoch, ..*header };
        header.write(frame);
        let (body, tag) = frame.split_at_mut(frame.len() - TAG_LEN);
        let (head, room) = body.split_at_mut(HEADER_LEN);
        let nonce = nonce(&header);
        let sealed = if self.sealed {
            self.key.seal_out_of_place_scatter(nonce, Aad::from(&*head), symbol, room, &[], tag)
        } else {
            room.copy_from_slice(symbol);
            self.key.seal_out_of_place_scatter(nonce, Aad::from(&*body), &[], &mut [], &[], tag)
        };
        sealed.expect("a frame is far below AES-GCM's limit, and as long as its parts");
    }
}

/// Why a frame was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a frame of this protocol version.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The sender has no key, we have one.
    #[error("frame is not sealed, but this side has a key")]
    Unsealed,
    /// The sender has a key, we have none.
    #[error("frame is sealed, but this side has no key")]
    NoKey,
    /// From a start of the sender before the newest one seen.
    #[error("frame of an old epoch")]
    OldEpoch,
    /// Corrupted, forged, or sealed under another key.
    #[error("bad tag")]
    BadTag,
}

/// Opens frames; moves to a newer epoch with the first genuine frame of it, and never back.
#[derive(Debug)]
pub struct Opener {
    link_key: LinkKey,
    direction: Direction,
    epoch: u32,
    key: Option<LessSafeKey>,
}

impl Opener {
    /// An opener that accepts no epoch below `epoch_min`.
    pub fn new(link_key: LinkKey, direction: Direction, epoch_min: u32) -> Self {
        Self { link_key, direction, epoch: epoch_min, key: None }
    }

    /// The newest epoch known to be genuine, or the least that is acceptable.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Accept nothing older than `epoch_min` from now on.
    pub fn raise_epoch(&mut self, epoch_min: u32) {
        if epoch_min > self.epoch {
            self.epoch = epoch_min;
            self.key = None;
        }
    }

    /// Reads the header and refuses what needs no cipher to be refused.
    #[expect(clippy::inline_always, reason = "as for `Header::read`")]
    #[inline(always)]
    pub fn peek(&self, frame: &[u8]) -> Result<Header, OpenError> {
        let header = Header::read(frame)?;
        match (header.sealed, self.link_key.is_sealed()) {
            (false, true) => Err(OpenError::Unsealed),
            (true, false) => Err(OpenError::NoKey),
            _ if header.epoch < self.epoch => Err(OpenError::OldEpoch),
            _ => Ok(header),
        }
    }

    /// Checks the tag and decrypts in place; `header` is what [`Opener::peek`] gave for this frame. Returns the symbol.
    pub fn open<'a>(&mut self, header: &Header, frame: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        self.with_key(header, |key| open_in_place(key, header, frame))
    }

    /// As [`Opener::open`], but the symbol goes into `symbol`, which is as long as it is; after an error it may hold anything. The
    /// frame stays as it came.
    #[inline]
    pub fn open_into(&mut self, header: &Header, frame: &[u8], symbol: &mut [u8]) -> Result<(), OpenError> {
        self.with_key(header, |key| open_into(key, header, frame, symbol))
    }

    /// Opens a frame with the key of its epoch, and moves to that epoch if the frame is genuine.
    #[inline]
    fn with_key<T>(
        &mut self,
        header: &Header,
        open: impl FnOnce(&LessSafeKey) -> Result<T, Unspecified>,
    ) -> Result<T, OpenError> {
        if header.epoch == self.epoch
            && let Some(key) = &self.key
        {
            return open(key).map_err(|_| OpenError::BadTag);
        }
        let key = self.link_key.derive(self.direction, header.epoch);
        let opened = open(&key).map_err(|_| OpenError::BadTag)?;
        self.epoch = header.epoch;
        self.key = Some(key);
        Ok(opened)
    }
}

fn open_in_place<'a>(key: &LessSafeKey, header: &Header, frame: &'a mut [u8]) -> Result<&'a mut [u8], Unspecified> {
    let nonce = nonce(header);
    if header.sealed {
        let (head, rest) = frame.split_at_mut(HEADER_LEN);
        return key.open_in_place(nonce, Aad::from(&*head), rest);
    }
    let (body, tag) = frame.split_at_mut(frame.len() - TAG_LEN);
    key.open_in_place(nonce, Aad::from(&*body), tag)?;
    Ok(&mut body[HEADER_LEN..])
}

fn open_into(key: &LessSafeKey, header: &Header, frame: &[u8], symbol: &mut [u8]) -> Result<(), Unspecified> {
    let nonce = nonce(header);
    let (body, tag) = frame.split_at(frame.len() - TAG_LEN);
    let (head, sealed) = body.split_at(HEADER_LEN);
    if header.sealed {
        return key.open_separate_gather(nonce, Aad::from(head), sealed, tag, symbol);
    }
    key.open_separate_gather(nonce, Aad::from(body), &[], tag, &mut [])?;
    symbol.copy_from_slice(sealed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Kind, Position};

    fn header(packet_number: u64) -> Header {
        Header {
            sealed: false,
            epoch: 0,
            lane: 3,
            packet_number,
            position: Position { channel: 7, block: 9, symbol: 1 },
            kind: Kind::Source { first_record: None, previous_k: None },
        }
    }

    fn sealed_frame(key: &LinkKey, epoch: u32, symbol: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN + symbol.len() + TAG_LEN];
        Sealer::new(key, Direction::Forward, epoch).seal(&header(5), symbol, &mut frame);
        frame
    }

    /// Either way of opening comes to the same.
    fn open(opener: &mut Opener, frame: &mut [u8]) -> Result<Vec<u8>, OpenError> {
        let header = opener.peek(frame)?;
        let mut symbol = vec![0; frame.len() - HEADER_LEN - TAG_LEN];
        let into = opener.open_into(&header, frame, &mut symbol);
        let in_place = opener.open(&header, frame).map(|symbol| symbol.to_vec());
        assert_eq!(into, in_place.as_ref().map(|_| ()).map_err(|error| *error));
        assert!(into.is_err() || in_place.as_ref() == Ok(&symbol));
        in_place
    }

    fn keys() -> [LinkKey; 2] {
        [LinkKey::sealed([7; 32]), LinkKey::unsealed()]
    }

    #[test]
    fn opens_what_was_sealed_and_follows_the_epoch() {
        for key in keys() {
            let mut opener = Opener::new(key.clone(), Direction::Forward, 0);
            assert_eq!(open(&mut opener, &mut sealed_frame(&key, 10, b"symbol")), Ok(b"symbol".to_vec()));
            assert_eq!(open(&mut opener, &mut sealed_frame(&key, 11, b"next")), Ok(b"next".to_vec()));
            assert_eq!(open(&mut opener, &mut sealed_frame(&key, 10, b"old")), Err(OpenError::OldEpoch));
            opener.raise_epoch(20);
            assert_eq!(open(&mut opener, &mut sealed_frame(&key, 19, b"old")), Err(OpenError::OldEpoch));
            assert_eq!(open(&mut opener, &mut sealed_frame(&key, 20, b"now")), Ok(b"now".to_vec()));
        }
    }

    #[test]
    fn a_forged_newer_epoch_moves_nothing() {
        let key = LinkKey::sealed([7; 32]);
        let mut opener = Opener::new(key.clone(), Direction::Forward, 0);
        let mut forged = sealed_frame(&LinkKey::sealed([8; 32]), 99, b"forged");
        assert_eq!(open(&mut opener, &mut forged), Err(OpenError::BadTag));
        assert_eq!(open(&mut opener, &mut sealed_frame(&key, 1, b"true")), Ok(b"true".to_vec()));
    }

    #[test]
    fn sealing_must_match_on_both_sides() {
        let [with, without] = keys();
        let mut opener = Opener::new(with.clone(), Direction::Forward, 0);
        assert_eq!(open(&mut opener, &mut sealed_frame(&without, 1, b"x")), Err(OpenError::Unsealed));
        let mut opener = Opener::new(without, Direction::Forward, 0);
        assert_eq!(open(&mut opener, &mut sealed_frame(&with, 1, b"x")), Err(OpenError::NoKey));
    }

    #[test]
    fn a_frame_cannot_be_reflected() {
        let key = LinkKey::sealed([7; 32]);
        let mut opener = Opener::new(key.clone(), Direction::Return, 0);
        assert_eq!(open(&mut opener, &mut sealed_frame(&key, 1, b"x")), Err(OpenError::BadTag));
    }

    #[test]
    fn a_sealed_symbol_is_not_readable_on_the_wire() {
        let frame = sealed_frame(&LinkKey::sealed([7; 32]), 1, b"attack at dawn");
        assert!(!frame.windows(6).any(|window| window == b"attack"));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(
            sealed: bool,
            symbol in proptest::collection::vec(any::<u8>(), 1..100),
            at: proptest::sample::Index,
            bit in 0_u8..8,
        ) {
            let key = if sealed { LinkKey::sealed([7; 32]) } else { LinkKey::unsealed() };
            let mut frame = sealed_frame(&key, 5, &symbol);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            prop_assert!(open(&mut Opener::new(key, Direction::Forward, 0), &mut frame).is_err());
        }

        #[test]
        fn any_truncation_is_found(
            symbol in proptest::collection::vec(any::<u8>(), 1..100),
            cut: proptest::sample::Index,
        ) {
            let key = LinkKey::sealed([7; 32]);
            let mut frame = sealed_frame(&key, 5, &symbol);
            frame.truncate(cut.index(frame.len()));
            prop_assert!(open(&mut Opener::new(key, Direction::Forward, 0), &mut frame).is_err());
        }
    }
}
