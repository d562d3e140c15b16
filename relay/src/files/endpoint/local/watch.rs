//! Hears of changes under a folder (inotify).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A watch over a folder and all that is in it.
#[derive(Debug)]
pub(super) struct Watch {
    heard: Arc<Notify>,
    /// Ends with this.
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// `None`: the kernel has no watch left, or the file system no events; then only looking again helps.
    pub fn start(folder: &Path) -> Option<Self> {
        let heard = Arc::new(Notify::new());
        let tell = Arc::clone(&heard);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| changes(event.kind)) {
                tell.notify_one();
            }
        })
        .ok()?;
        watcher.watch(folder, RecursiveMode::Recursive).ok()?;
        Some(Self { heard, _watcher: watcher })
    }

    pub async fn changed(&self, patience: Duration) {
        // Not in time is no error: then it is time to look anyway.
        let _ = tokio::time::timeout(patience, self.heard.notified()).await;
    }
}

/// Reading is no change; the end of writing is.
fn changes(kind: EventKind) -> bool {
    !kind.is_access() || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}
