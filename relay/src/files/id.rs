//! A file's UUID, and those of the sessions that bring it.
//!
//! Every attempt is a session of its own, so that what is left of one is never taken for the next. Its UUID is the file's with
//! the attempt's number in one byte: whatever single record comes, RED knows which file it is of.

use uuid::Uuid;

use crate::session::{SessionId, new_id};

/// Byte of the UUID that counts attempts: in the random part of a version 7 UUID (RFC 9562, 5.7), and not the one that chooses
/// a lane.
const ATTEMPT_AT: usize = 14;

/// A UUID for a new file.
pub fn new_file() -> Uuid {
    file_of(new_id())
}

/// The file that a session brings.
pub fn file_of(mut session: SessionId) -> Uuid {
    session[ATTEMPT_AT] = 0;
    Uuid::from_bytes(session)
}

/// The session of a file's attempt number `attempt`; they repeat after 256.
pub fn session_of(file: Uuid, attempt: u32) -> SessionId {
    let mut session = file.into_bytes();
    session[ATTEMPT_AT] = attempt as u8;
    session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_is_another_session_of_the_same_file() {
        let file = new_file();
        let sessions: std::collections::HashSet<_> = (0..256).map(|attempt| session_of(file, attempt)).collect();
        assert_eq!(sessions.len(), 256);
        assert!(sessions.into_iter().all(|session| file_of(session) == file));
    }
}
