//! Threads that serve TCP connections.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Connections only move bytes between sockets and lanes, which do the work: two threads serve them all.
const WORKERS: usize = 2;

/// A runtime for connections. Dropping it ends them at once and waits for nothing, wherever it is dropped.
pub struct TcpRuntime {
    handle: Handle,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl TcpRuntime {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).thread_name("tcp").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// To start tasks with.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for TcpRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
