//! How many sessions of a stream RED has at a time. BLUE keeps the stream's limit; this bounds what a BLUE that does not can
//! take of RED's memory and files.

/// BLUE frees a client's place when the client is gone, RED when its destination is: until then a stream may have so many
/// times its `max_sessions` here ...
const FACTOR: u32 = 2;
/// ... and a few more, for streams of one session.
const MORE: u32 = 8;

/// For a stream with `max_sessions` on BLUE.
pub fn places(max_sessions: u32) -> u32 {
    max_sessions.saturating_mul(FACTOR).saturating_add(MORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_than_on_blue() {
        assert_eq!((places(1), places(2), places(u32::MAX)), (10, 12, u32::MAX));
    }
}
