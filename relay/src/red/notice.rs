//! What lanes tell the control thread.

use crate::tcp::Failure;

/// Notices that may wait; more are dropped, because the counters have them too.
pub const NOTICES_MAX: usize = 1024;

/// Something that deserves a log line.
#[derive(Debug)]
pub enum Notice {
    /// BLUE has started anew.
    NewEpoch(u32),
    /// BLUE stops.
    Stopping,
    /// BLUE's file has a stream that ours has not, or as another type.
    Mismatch {
        /// The channel.
        channel: u16,
        /// BLUE's type, as its wire number.
        theirs: u8,
        /// Ours.
        ours: Option<u8>,
    },
    /// The two files do not have the same streams: the digest of BLUE's.
    TablesDiffer(u64),
    /// A TCP session was broken off.
    SessionAborted {
        /// Its stream.
        stream: String,
        /// Its UUID.
        session: String,
        /// Why.
        why: Failure,
    },
    /// A TCP session is not delivered: its stream has as many as it may have here.
    SessionRefused {
        /// Its stream.
        stream: String,
        /// Its UUID.
        session: String,
        /// So many.
        places: u32,
    },
    /// Trouble with a file, or with the place of files.
    File {
        /// The channel's name.
        stream: String,
        /// Stable reason.
        reason: &'static str,
        /// What happened, and what is done.
        text: String,
    },
    /// A file that BLUE has sent never came.
    FileMissing {
        /// The channel's name.
        stream: String,
        /// Which, and what of it.
        text: String,
    },
    /// A file that was missing has come.
    FileArrived {
        /// The channel's name.
        stream: String,
        /// Which.
        text: String,
    },
    /// A session cannot be delivered.
    SessionFailed {
        /// Its stream.
        stream: String,
        /// Its UUID.
        session: String,
        /// Why.
        error: String,
    },
}
