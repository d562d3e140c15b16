//! How far files on their way have come, for people.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::name::FileName;

#[derive(Debug)]
struct Running {
    name: FileName,
    size_bytes: u64,
    done_bytes: AtomicU64,
}

/// The files of one channel that are on their way.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Vec<Weak<Running>>>);

/// One file on its way, until this is dropped.
#[derive(Debug)]
pub struct Active(Arc<Running>);

impl Progress {
    /// One more file is on its way.
    pub fn begin(&self, name: &FileName, size_bytes: u64) -> Active {
        let running = Arc::new(Running { name: name.clone(), size_bytes, done_bytes: AtomicU64::new(0) });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|running| running.strong_count() > 0);
        all.push(Arc::downgrade(&running));
        Active(running)
    }

    /// A line for every file: name, share, bytes.
    pub fn lines(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).map(|running| running.line()).collect()
    }
}

impl Active {
    /// So many bytes more have gone.
    pub fn advance(&self, bytes: u64) {
        self.0.done_bytes.fetch_add(bytes, Relaxed);
    }
}

impl Running {
    fn line(&self) -> String {
        let done = self.done_bytes.load(Relaxed);
        let percent = (u128::from(done) * 100).checked_div(u128::from(self.size_bytes)).unwrap_or(100);
        format!("file=\"{}\" done={percent}% bytes={done} of={}", self.name, self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_line_while_it_is_on_its_way() {
        let progress = Progress::default();
        let active = progress.begin(&FileName::new("a b").expect("a name"), 200);
        let empty = progress.begin(&FileName::new("none").expect("a name"), 0);
        active.advance(90);
        assert_eq!(progress.lines(), ["file=\"a b\" done=45% bytes=90 of=200", "file=\"none\" done=100% bytes=0 of=0"]);
        drop((active, empty));
        assert_eq!(progress.lines(), [""; 0]);
    }
}
