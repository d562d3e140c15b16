//! How a lane thread waits: on many descriptors, to the microsecond, without spinning.

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use crate::link::Nanos;
use crate::xsk;

/// The kernel may wake a thread later than asked by this much; its default of 50 us is as long as `flush`.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::new(1_000).expect("above 0");
/// A lane looks around at least this often, whatever it was told.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// Sets the calling thread's timers to be exact. Where that is refused, timers are 50 us late and nothing else.
pub fn prepare_lane_thread() {
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NS)) {
        tracing::warn!(%error, "timers of this lane are inexact");
    }
}

/// Any number of descriptors as one.
#[derive(Debug)]
pub struct Readiness(OwnedFd);

impl Readiness {
    /// Nothing to wait for yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Waits for `fd` too, until it is closed.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.add_as(fd, 0)
    }

    /// Waits for `fd` too, until it is closed; [`Readiness::ready`] names it by `name`.
    pub fn add_as(&self, fd: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(name), epoll::EventFlags::IN)?)
    }

    /// The names of descriptors that are readable now, as many as `names` holds. One system call; never waits.
    pub fn ready<'a, const N: usize>(&self, names: &'a mut [u64; N]) -> &'a [u64] {
        let mut events: [MaybeUninit<epoll::Event>; N] = [const { MaybeUninit::uninit() }; N];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A failure (a signal) only means to look again.
        let Ok((ready, _)) = epoll::wait(&self.0, &mut events, Some(&at_once)) else { return &[] };
        let count = ready.len();
        for (name, event) in names.iter_mut().zip(ready) {
            *name = event.data.u64();
        }
        &names[..count]
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until `readiness` is readable or the clock, which now shows `now`, shows `until`.
pub fn wait_until(readiness: &Readiness, now: Nanos, until: Nanos) -> io::Result<()> {
    let timeout = Duration::from_nanos(until.saturating_sub(now)).min(WAIT_MAX);
    xsk::wait_readable(&[readiness.as_fd()], timeout).map(drop).map_err(io::Error::other)
}
