//! The link's receiving ends as a lane uses them: one or several queues, or a kernel socket.

use std::io;
use std::os::fd::AsFd as _;

use crate::host::Readiness;
use crate::link::RxPort;
use crate::link::socket::SocketRx;
use crate::link::xdp::XdpRx;

/// A lane's receiving end.
pub trait LinkPort: RxPort {
    /// Puts everything to wait for into `readiness`.
    fn register(&self, readiness: &Readiness) -> io::Result<()>;
    /// Frames that the kernel dropped because this end was full, as far as the end itself knows.
    fn overflow(&self) -> u64;
}

/// All `AF_XDP` queues of a lane.
pub struct Queues(pub Vec<XdpRx>);

impl RxPort for Queues {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        self.0.iter_mut().try_fold(0, |count, queue| Ok(count + queue.receive(max, each)?))
    }
}

impl LinkPort for Queues {
    fn register(&self, readiness: &Readiness) -> io::Result<()> {
        self.0.iter().try_for_each(|queue| readiness.add(queue.as_fd()))
    }

    fn overflow(&self) -> u64 {
        let statistics = self.0.iter().filter_map(|queue| queue.socket().statistics().ok());
        statistics.map(|s| s.rx_dropped + s.rx_ring_full).sum()
    }
}

impl LinkPort for SocketRx {
    fn register(&self, readiness: &Readiness) -> io::Result<()> {
        readiness.add(self.as_fd())
    }

    /// The control thread looks it up.
    fn overflow(&self) -> u64 {
        0
    }
}
