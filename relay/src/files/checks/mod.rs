//! What a file passes on BLUE between "no longer written to" and "sent": a chain of checks.
//!
//! ```text
//! stable file -> name -> size -> patterns -> magic -> pass: it is sent
//!                  \______\_________\__________\-----> block: quarantined, told with its reason
//!                                               \----> fail: tried again later
//! ```
//!
//! A file passes it when it is found stable, and again whenever it is sent: rules may have changed since, and content, too.
//!
//! A check is a [`Check`]: one more, such as a scan by a server, goes to the end of the chain. Owns no file: a [`Subject`]
//! reads through its place, and only what a check asks for.

mod magic;
mod name;
mod patterns;
mod size;
mod subject;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub use name::is_temporary;
pub use patterns::{PATTERNS_MAX, Pattern, PatternFault};
pub use subject::{FIRST_BYTES, Rest, Subject};

use crate::config::FilesSource;

/// What a check, or the chain, thinks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be sent.
    Pass,
    /// It may not, as it is now: why, for people.
    Block(String),
    /// That could not be found out: why, for people. To be tried again later, if need be over a new connection.
    Fail(String),
}

/// One question to a file.
#[async_trait]
pub trait Check: Send + Sync {
    /// Its name, a word for logs.
    fn name(&self) -> &'static str;

    /// Looks at the file.
    async fn check(&self, subject: &mut Subject<'_>) -> Verdict;
}

/// The checks of a `[[files]]` table.
pub struct Chain(Vec<Box<dyn Check>>);

impl Chain {
    /// The checks that `source` asks for, those that need no content first.
    ///
    /// # Errors
    /// A pattern is none, which a checked site file rules out.
    pub fn new(source: &FilesSource) -> Result<Self, PatternFault> {
        let patterns = patterns::Patterns::new(&source.include, &source.exclude)?;
        let mut checks: Vec<Box<dyn Check>> =
            vec![Box::new(name::Name), Box::new(size::Size { max_bytes: source.max_bytes }), Box::new(patterns)];
        if source.magic {
            checks.push(Box::new(magic::Magic));
        }
        Ok(Self(checks))
    }

    /// What the first check says that does not let the file pass, with that check's name ahead; else it passes.
    pub async fn check(&self, subject: &mut Subject<'_>) -> Verdict {
        for check in &self.0 {
            match check.check(subject).await {
                Verdict::Pass => {}
                Verdict::Block(why) => return Verdict::Block(format!("{}: {why}", check.name())),
                Verdict::Fail(why) => return Verdict::Fail(format!("{}: {why}", check.name())),
            }
        }
        Verdict::Pass
    }
}
