//! Processor time, and where it was spent.
//!
//! The kernel's work for a packet (softirq) runs in the context of whoever happened to be there: on a veth mostly of the
//! thread that sent it, through every hop to the next queue or socket, else in a kernel thread. The scheduler counts it
//! there, and so does this: all of it is in the sum, none of it twice.

use std::time::Duration;

use anyhow::Result;
use lab::usage;

/// Kernel threads that handle packets.
const KERNEL_THREADS: [&str; 2] = ["ksoftirqd/", "napi/"];

/// The processes of a path.
#[derive(Clone, Debug)]
pub struct Watched {
    blue: Option<u32>,
    red: Option<u32>,
    /// And what each had used by then: others on the machine end theirs meanwhile.
    kernel: Vec<(u32, Duration)>,
}

/// Processor time of everything on a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// The client's thread.
    pub client: Duration,
    /// BLUE's process.
    pub blue: Duration,
    /// RED's process.
    pub red: Duration,
    /// The server's thread.
    pub server: Duration,
    /// The kernel's packet threads.
    pub kernel: Duration,
}

impl Watched {
    /// The path's relays, if it has any, and the kernel's threads as they are now.
    pub fn new(blue: Option<u32>, red: Option<u32>) -> Result<Self> {
        let threads = usage::kernel_threads(&KERNEL_THREADS)?;
        let used = threads.into_iter().filter_map(|thread| Some((thread, usage::cpu_time_exact(thread).ok()?)));
        Ok(Self { blue, red, kernel: used.collect() })
    }

    /// What relays and kernel have used until now.
    pub fn now(&self) -> Result<Cost> {
        let of = |process: Option<u32>| process.map_or(Ok(Duration::ZERO), usage::cpu_time_exact);
        let since =
            |(thread, used)| usage::cpu_time_exact(thread).map_or(Duration::ZERO, |now| now.saturating_sub(used));
        let kernel = self.kernel.iter().copied().map(since).sum();
        Ok(Cost { blue: of(self.blue)?, red: of(self.red)?, kernel, ..Cost::default() })
    }
}

impl Cost {
    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            client: self.client.saturating_sub(before.client),
            blue: self.blue.saturating_sub(before.blue),
            red: self.red.saturating_sub(before.red),
            server: self.server.saturating_sub(before.server),
            kernel: self.kernel.saturating_sub(before.kernel),
        }
    }

    /// Everything together.
    pub fn total(self) -> Duration {
        self.client + self.blue + self.red + self.server + self.kernel
    }

    /// What the relay takes: both of its processes, and the kernel's packet threads, which work for the whole path.
    pub fn relay(self) -> Duration {
        self.blue + self.red + self.kernel
    }

    /// Names and parts.
    pub fn parts(self) -> [(&'static str, Duration); 5] {
        [
            ("client", self.client),
            ("BLUE", self.blue),
            ("RED", self.red),
            ("server", self.server),
            ("kernel threads", self.kernel),
        ]
    }
}
