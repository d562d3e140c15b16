//! The ground of one test: a place, the server that shows it, and a host for both.

use std::any::Any;
use std::ops::AsyncFnOnce;

use lab::{Host, TempDir};

use super::contract::Subject;

/// A place with its server; all of it goes with the handle.
pub struct Stage {
    host: Host,
    /// What serves the place. Before `folder`, so that it ends first.
    _server: Option<Box<dyn Any + Send>>,
    subject: Subject,
    _folder: TempDir,
}

impl Stage {
    /// A place as `subject` says, on `host`, kept in `folder`; `server` is held as long as the stage.
    pub fn new(host: Host, folder: TempDir, server: Option<Box<dyn Any + Send>>, subject: Subject) -> Self {
        Self { host, _server: server, subject, _folder: folder }
    }

    /// Runs a test's work on the host, where the server is.
    pub fn run(&self, work: impl AsyncFnOnce(&Subject) + Send) {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let subject = &self.subject;
        self.host.run(|| runtime().block_on(work(subject))).expect("a host");
    }
}
