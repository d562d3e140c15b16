//! Patterns of names: which files may cross, and which may not.
//!
//! `*` and `?` stand for anything but `/`, `[a-z]` and `{a,b}` as in a shell, `**` for any number of folders, `\` before a
//! character for that character. A pattern with a `/` is about the whole name, one without is about its last part, in
//! whatever folder. Letters match in either case: an `exclude` of `*.exe` means `A.EXE` too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use async_trait::async_trait;
use globset::{GlobBuilder, GlobMatcher};

use super::{Check, Subject, Verdict};
use crate::files::{FileName, NAME_BYTES_MAX};

/// Most patterns of one list: they are tried one after the other.
pub const PATTERNS_MAX: usize = 256;

/// One pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
    /// About the whole name, not its last part alone.
    whole: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {why}")]
pub struct PatternFault {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

impl Pattern {
    /// The pattern that `text` is.
    ///
    /// # Errors
    /// It is none, or matches no name that there can be.
    pub fn new(text: &str) -> Result<Self, PatternFault> {
        let fault = |why: &str| PatternFault { pattern: text.to_owned(), why: why.to_owned() };
        if text.is_empty() || text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
            return Err(fault("names are relative, and end with a file"));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(fault("it is longer than a name can be"));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).case_insensitive(true).build();
        let glob = glob.map_err(|error| fault(&error.kind().to_string()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher(), whole: text.contains('/') })
    }

    /// Is the name of this pattern?
    pub fn matches(&self, name: &FileName) -> bool {
        let bytes = if self.whole { name.as_bytes() } else { name.last() };
        self.matcher.is_match(OsStr::from_bytes(bytes))
    }
}

/// Blocks what no pattern of a list includes, and what one of another excludes.
pub(super) struct Patterns {
    /// Empty: all.
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Patterns {
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternFault> {
        let all = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>();
        Ok(Self { include: all(include)?, exclude: all(exclude)? })
    }

    fn of(&self, name: &FileName) -> Verdict {
        let first = |patterns: &'_ [Pattern]| patterns.iter().find(|pattern| pattern.matches(name)).cloned();
        if let Some(pattern) = first(&self.exclude) {
            return Verdict::Block(format!("excluded by `{}`", pattern.text));
        }
        if self.include.is_empty() || first(&self.include).is_some() {
            return Verdict::Pass;
        }
        Verdict::Block("no pattern of `include` has it".to_owned())
    }
}

#[async_trait]
impl Check for Patterns {
    fn name(&self) -> &'static str {
        "patterns"
    }

    async fn check(&self, subject: &mut Subject<'_>) -> Verdict {
        self.of(subject.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(bytes: impl Into<Vec<u8>>) -> FileName {
        FileName::new(bytes).expect("a name")
    }

    #[test]
    fn a_pattern_is_about_the_last_part_or_the_whole_name() {
        for (pattern, of_it, others) in [
            ("*.csv", &["a.csv", "x/y/A.CSV", ".csv"][..], &["a.csv.gz", "a.csv/b"][..]),
            ("in/*.csv", &["in/a.csv"], &["a.csv", "in/x/a.csv", "x/in/a.csv"]),
            ("**/out/*", &["out/a", "x/y/out/a"], &["out/x/a", "x"]),
            ("2026/**", &["2026/a", "2026/11/a"], &["2025/a", "2026"]),
            ("report-[0-9]?.{pdf,txt}", &["report-1a.pdf", "b/report-22.TXT"], &["report-1.pdf", "report-1a.doc"]),
            ("a\\*", &["a*"], &["ab"]),
        ] {
            let pattern = Pattern::new(pattern).expect("a pattern");
            for of_it in of_it {
                assert!(pattern.matches(&name(*of_it)), "{} {of_it}", pattern.text);
            }
            for other in others {
                assert!(!pattern.matches(&name(*other)), "{} {other}", pattern.text);
            }
        }
        assert!(Pattern::new("*.csv").expect("a pattern").matches(&name(b"\xFF\xFE.csv".to_vec())), "no text");
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for pattern in ["", "/a", "a/", "a\0", "[a", "{a", "a{b,{c", "[z-a]"] {
            let fault = Pattern::new(pattern).expect_err(pattern);
            assert!(!fault.why.is_empty() && fault.to_string().contains("is not a pattern"), "{fault}");
        }
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let lists = |include: &[&str], exclude: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Patterns::new(&texts(include), &texts(exclude)).expect("patterns")
        };
        let both = lists(&["*.txt", "*.csv"], &["secret*"]);
        assert_eq!(both.of(&name("a/b.csv")), Verdict::Pass);
        assert_eq!(both.of(&name("a/secret.csv")), Verdict::Block("excluded by `secret*`".to_owned()));
        assert!(matches!(both.of(&name("b.exe")), Verdict::Block(why) if why.contains("include")));
        assert_eq!(lists(&[], &["*.exe"]).of(&name("b")), Verdict::Pass);
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused(text in "([*?\\[\\]{},!\\\\/a-c.-]|\\PC){0,20}", bytes in proptest::collection::vec(any::<u8>(), 1..20)) {
            if let (Ok(pattern), Ok(name)) = (Pattern::new(&text), FileName::new(bytes)) {
                let _ = pattern.matches(&name);
            }
        }
    }
}
