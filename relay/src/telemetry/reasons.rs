//! Why a record, a datagram or a frame was not delivered: one enum per place that counts.
//!
//! Owns the names, which scripts and dashboards rely on: a name never changes its meaning. Adding a
//! reason is adding a line; [`Tally`](super::counters::Tally) has room for [`MOST_REASONS`].

/// Reasons that a tally has room for: two cache lines of counters.
pub const MOST_REASONS: usize = 16;

/// A closed set of reasons that can be counted.
pub trait Reason: Copy + 'static {
    /// Every reason, in the order in which they are printed.
    const ALL: &'static [Self];

    /// Stable name: lower case with underscores.
    fn name(self) -> &'static str;

    /// Position in [`Self::ALL`], below [`MOST_REASONS`].
    fn index(self) -> usize;
}

macro_rules! reasons {
    ($(#[$about:meta])* $set:ident { $($(#[$why:meta])* $reason:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $set {
            $($(#[$why])* $reason,)+
        }

        impl $set {
            /// Stable name: lower case with underscores.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }

        impl Reason for $set {
            const ALL: &'static [Self] = &[$(Self::$reason,)+];

            fn name(self) -> &'static str {
                self.name()
            }

            fn index(self) -> usize {
                const { assert!(<$set as Reason>::ALL.len() <= MOST_REASONS) };
                self as usize
            }
        }
    };
}

reasons! {
    /// Why the sending host did not take a datagram or connection into the link.
    SendRefused {
        /// The source is not in the stream's list.
        Source = "source",
        /// The stream has `max_sessions` sessions already.
        SessionLimit = "session_limit",
        /// Above the stream's rate.
        Rate = "rate",
        /// The link takes no more at the moment.
        LinkFull = "link_full",
        /// No socket listens on that queue.
        NoSocket = "no_socket",
        /// A queue within the relay or the kernel overflowed.
        Overflow = "overflow",
        /// Larger than a block can carry.
        Oversize = "oversize",
        /// The other host could not connect to the destination.
        OpenFailed = "open_failed",
        /// The other host did not answer in time whether it could.
        OpenTimeout = "open_timeout",
        /// Anything but a status, on a link that carries status only.
        StatusOnly = "status_only",
    }
}

reasons! {
    /// Why a record that was sent is missing on the receiving host.
    Lost {
        /// The session's sequence has a hole.
        Gap = "gap",
        /// The session's end is missing.
        Tail = "tail",
        /// The sending host counted it, and nothing of its session was ever seen.
        Unseen = "unseen",
        /// Sent before the receiving host heard its first frame of the epoch.
        BeforeJoin = "before_join",
    }
}

reasons! {
    /// Why the receiving host did not deliver a record that it has.
    ReceiveRefused {
        /// The stream has as many TCP sessions as the receiving host lets it have; counted once a session.
        SessionLimit = "session_limit",
        /// The destination's hardware address is not known.
        NoNeighbour = "no_neighbour",
        /// The transmit ring or the socket's buffer is full.
        TxFull = "tx_full",
        /// The system refused to send.
        SendError = "send_error",
        /// Its session was aborted: bytes before it are missing, or its destination is gone or too slow.
        Aborted = "aborted",
        /// Not a well-formed status, on a link that carries status only.
        NotStatus = "not_status",
    }
}

reasons! {
    /// Why the receiving host dropped a frame of the link.
    FrameDropped {
        /// Too short, or lengths and indices contradict each other.
        Malformed = "malformed",
        /// Of another protocol version.
        Version = "version",
        /// Another port, address or protocol.
        NotForUs = "not_for_us",
        /// Not sealed, while this host has a key.
        Unsealed = "unsealed",
        /// Sealed, while this host has no key.
        SealedWithoutKey = "sealed_without_key",
        /// The tag does not fit: another key, or forged.
        BadTag = "bad_tag",
        /// Received before.
        Replayed = "replayed",
        /// Of an epoch that is over.
        OldEpoch = "old_epoch",
        /// Of a channel that this host's file does not have.
        UnknownChannel = "unknown_channel",
        /// Of a lane that this receiver does not serve.
        ForeignLane = "foreign_lane",
        /// Larger than this side's MTU allows.
        Oversize = "oversize",
        /// Contradicts what other frames said of its block.
        Contradiction = "contradiction",
        /// The memory for symbols is used up.
        PoolFull = "pool_full",
        /// Lost between the network card and the relay: the receive ring was full.
        Overflow = "overflow",
        /// No lane serves the queue it arrived on.
        NoSocket = "no_socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well_named<R: Reason + PartialEq + std::fmt::Debug>() {
        let mut names: Vec<_> = R::ALL.iter().map(|reason| reason.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        for (at, reason) in R::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), R::ALL.len(), "two reasons share a name");
    }

    #[test]
    fn every_reason_has_its_own_name_and_place() {
        well_named::<SendRefused>();
        well_named::<Lost>();
        well_named::<ReceiveRefused>();
        well_named::<FrameDropped>();
    }
}
