//! How long RED remembers a session: in time during which BLUE was heard, and never for less than BLUE repeats itself.
//!
//! A session that was forgotten too early and is heard of again would look like one of which everything is missing.

use crate::link::Nanos;

/// Sessions that a lane knows at a time, TCP and datagrams each, those included that it does not deliver: as many as a
/// process may have files (`fs.nr_open`, proc(5)), of about 250 bytes. Only a BLUE that makes sessions up comes so far.
pub const SESSIONS_MAX: usize = 1 << 20;
/// A session is remembered for at least this long after its last sign of life, whatever the heartbeat.
const KEEP_NS: Nanos = 10_000_000_000;
/// ... and for so many heartbeats: BLUE ends a session at a heartbeat, announces the end with three, and any of them may
/// be late or lost.
const KEEP_HEARTBEATS: u64 = 8;
/// Without a frame for so many heartbeats BLUE counts as silent, as the alarm has it.
const SILENT_HEARTBEATS: u64 = 3;
/// How often sessions are looked through for ones to forget.
const SWEEP_NS: Nanos = 1_000_000_000;

/// A clock that stands still while nothing is heard: sessions go on at BLUE during an outage of the link, and must be
/// known when it is over.
#[derive(Debug, Default)]
pub struct HeardTime {
    heard_ns: Nanos,
    looked_at: Nanos,
    heartbeat_ns: Nanos,
}

impl HeardTime {
    /// The time that BLUE was heard for, to [`SWEEP_NS`].
    pub fn now(&self) -> Nanos {
        self.heard_ns
    }

    /// Goes on, if it is time to. `heard_at` is when the last frame came, if one did. True: look for sessions to forget.
    pub fn look(&mut self, now: Nanos, heard_at: Option<Nanos>, heartbeat_ns: Nanos) -> bool {
        let since_ns = now.saturating_sub(self.looked_at);
        if since_ns < SWEEP_NS {
            return false;
        }
        self.looked_at = now;
        self.heartbeat_ns = heartbeat_ns;
        let heard = heard_at.is_some_and(|at| now.saturating_sub(at) < SILENT_HEARTBEATS * heartbeat_ns);
        if heard {
            self.heard_ns += since_ns;
        }
        heard
    }

    /// Is a session still remembered that was last heard of at `last`, on this clock, and that BLUE ends after `idle_ns`?
    pub fn remembers(&self, last: Nanos, idle_ns: Nanos) -> bool {
        let keep_ns = KEEP_NS.max(KEEP_HEARTBEATS * self.heartbeat_ns);
        self.heard_ns.saturating_sub(last) < idle_ns.saturating_add(keep_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;

    /// Looks every second from `from` to `to`, hearing a frame each time if `heard`.
    fn pass(time: &mut HeardTime, from: u64, to: u64, heard_at: Option<u64>, heartbeat_ns: Nanos) {
        for second in from..to {
            time.look(second * S, Some(heard_at.unwrap_or(second) * S), heartbeat_ns);
        }
    }

    #[test]
    fn an_idle_session_is_forgotten() {
        let mut time = HeardTime::default();
        pass(&mut time, 1, 10, None, S / 4);
        let last = time.now();
        pass(&mut time, 10, 20, None, S / 4);
        assert!(time.remembers(last, S), "idle for 1 s, and 10 s more");
        pass(&mut time, 20, 22, None, S / 4);
        assert!(!time.remembers(last, S));
    }

    #[test]
    fn an_outage_of_any_length_forgets_nobody() {
        let mut time = HeardTime::default();
        pass(&mut time, 1, 10, None, S / 4);
        let last = time.now();
        pass(&mut time, 10, 100_000, Some(9), S / 4);
        pass(&mut time, 100_000, 100_005, None, S / 4);
        assert!(time.remembers(last, S));
    }

    #[test]
    fn rare_heartbeats_make_a_long_memory() {
        let mut time = HeardTime::default();
        pass(&mut time, 1, 10, None, 60 * S);
        let last = time.now();
        pass(&mut time, 10, 10 + 3 * 60, None, 60 * S);
        assert!(time.remembers(last, 0), "the last of three ends comes only now");
    }

    #[test]
    fn looks_once_a_second() {
        let mut time = HeardTime::default();
        assert!(time.look(5 * S, Some(5 * S), S));
        assert!(!time.look(5 * S + S / 2, Some(5 * S), S));
        assert!(time.look(6 * S, Some(5 * S), S));
    }
}
