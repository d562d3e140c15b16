//! Why a session was broken off.

use std::fmt;

/// The reason that both hosts give in their logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The other host says so: its peer is gone, or it lost some of the session.
    ByPeer,
    /// The other host is silent, stops, or was started anew.
    PeerGone,
    /// At least so many bytes never came over the link.
    Missing(u32),
    /// More waits for its socket than there is room for.
    Overflow,
    /// Its stream is no longer in the site file.
    StreamRemoved,
    /// Its own socket, which its task has told.
    Socket,
}

impl Failure {
    /// As one word that is not 0.
    pub(super) fn pack(self) -> u64 {
        let (code, bytes) = match self {
            Self::ByPeer => (1, 0),
            Self::PeerGone => (2, 0),
            Self::Missing(bytes) => (3, bytes),
            Self::Overflow => (4, 0),
            Self::StreamRemoved => (5, 0),
            Self::Socket => (6, 0),
        };
        code << 32 | u64::from(bytes)
    }

    /// The reverse; `None` for 0.
    pub(super) fn unpack(word: u64) -> Option<Self> {
        Some(match word >> 32 {
            0 => return None,
            1 => Self::ByPeer,
            2 => Self::PeerGone,
            3 => Self::Missing(word as u32),
            4 => Self::Overflow,
            5 => Self::StreamRemoved,
            _ => Self::Socket,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer => f.write_str("the other host broke it off"),
            Self::PeerGone => f.write_str("the other host is silent, stops, or was started anew"),
            Self::Missing(bytes) => write!(f, "{bytes} bytes or more of it never came over the link"),
            Self::Overflow => f.write_str("more than `buffer` waits for it: its destination or client is too slow"),
            Self::StreamRemoved => f.write_str("its stream is no longer in the site file"),
            Self::Socket => f.write_str("its own connection failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back() {
        for failure in [
            Failure::ByPeer,
            Failure::PeerGone,
            Failure::Missing(0),
            Failure::Missing(u32::MAX),
            Failure::Overflow,
            Failure::StreamRemoved,
            Failure::Socket,
        ] {
            assert_eq!(Failure::unpack(failure.pack()), Some(failure));
        }
        assert_eq!(Failure::unpack(0), None);
    }
}
