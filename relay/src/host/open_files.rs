//! Room for a socket per session.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are no sessions' sockets: rings, maps, programs, logs.
const OTHERS: u64 = 256;

/// Raises this process's limit of open files as far as the system lets it: on most systems it starts at 1,024, while a
/// stream alone may have 65,536 sessions. Says so where `sockets` do not fit.
pub fn raise_open_files(sockets: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let room = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if room < sockets.saturating_add(OTHERS) {
        tracing::warn!(
            "the streams may have {sockets} sessions, but this process only {room} open files: raise its hard limit (LimitNOFILE in a systemd unit), or lower max_sessions"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_becomes_the_hard_one() {
        raise_open_files(1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
