//! Files that are too large.

use async_trait::async_trait;

use super::{Check, Subject, Verdict};

/// Blocks what is larger than allowed.
pub(super) struct Size {
    /// The largest size that may pass.
    pub max_bytes: u64,
}

#[async_trait]
impl Check for Size {
    fn name(&self) -> &'static str {
        "size"
    }

    async fn check(&self, subject: &mut Subject<'_>) -> Verdict {
        let (size_bytes, max_bytes) = (subject.attributes().size_bytes, self.max_bytes);
        if size_bytes <= max_bytes {
            return Verdict::Pass;
        }
        Verdict::Block(format!("{size_bytes} bytes; at most {max_bytes} may pass (`max_size`)"))
    }
}
