//! Forward error correction of one block: how many repair symbols, making them, and getting lost symbols back.
//!
//! Pure computation over the caller's buffers. Knows nothing of frames, channels or time. The codecs are the `raptorq`
//! (RFC 6330) and `reed-solomon-simd` crates; both panic or fail on malformed input, so every index and length is
//! checked here before they see it.

mod combine;
mod decoder;
mod encoder;
mod erasures;
mod matrix;
mod protect;
mod solve;

pub use decoder::{Decoder, Geometry};
pub use encoder::{Encoder, SourceBlock};
pub use protect::{Protection, ProtectionError, RepairTable};

/// Which code a stream asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// No repair symbols: what is lost is lost.
    None,
    /// RFC 6330.
    RaptorQ,
    /// Reed-Solomon over GF(2^16).
    ReedSolomon,
}

/// The code of one block, as repair frames name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// RFC 6330.
    RaptorQ = 1,
    /// Reed-Solomon over GF(2^16).
    ReedSolomon = 2,
    /// Every repair symbol is the one source symbol again: what any perfect code comes to at K = 1, for free.
    Repetition = 3,
}

impl Code {
    /// The code with wire number `number`.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::RaptorQ,
            2 => Self::ReedSolomon,
            3 => Self::Repetition,
            _ => return None,
        })
    }
}

impl Scheme {
    /// The code for a block of `k` source symbols; `None` for no code.
    pub fn code(self, k: u16) -> Option<Code> {
        match self {
            Self::None => None,
            _ if k <= 1 => Some(Code::Repetition),
            Self::RaptorQ => Some(Code::RaptorQ),
            Self::ReedSolomon => Some(Code::ReedSolomon),
        }
    }
}

/// Up to here RaptorQ blocks have a plan for their exact K (0.1-0.2 ms each to make).
const EXACT_PLANS_MAX: u16 = 128;
/// Above it K is rounded up to a multiple of this with symbols known to be zero, so that plans stay few.
const PLAN_STEP: u16 = 64;

/// The K that RaptorQ really codes for: both sides derive it from the block's K.
fn raptorq_k(k: u16) -> u16 {
    if k <= EXACT_PLANS_MAX { k } else { k.div_ceil(PLAN_STEP) * PLAN_STEP }
}

#[cfg(test)]
mod tests;
