//! Walks the tables of a site file, noting every problem instead of stopping at the first.
//!
//! Owns [`Notes`] (the problems found so far and where each good value stands) and [`Section`] (one
//! table, which knows the keys it was asked for: the rest are unknown). A reader that fails yields a
//! placeholder and the walk goes on; a site with placeholders is never handed out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Class, Problem, Text};
use super::values::{Fault, Read, kind_of};

/// Problems found so far, and the place of every value that was read well.
pub(super) struct Notes {
    source: Arc<Text>,
    pub problems: Vec<Problem>,
    places: HashMap<String, Range<usize>>,
}

impl Notes {
    pub fn new(source: Arc<Text>) -> Self {
        Self { source, problems: Vec::new(), places: HashMap::new() }
    }

    /// Notes an error at `span`, or of the file as a whole where there is none.
    pub fn error(
        &mut self,
        class: Class,
        span: impl Into<Option<Range<usize>>>,
        cause: &str,
        message: String,
        remedy: String,
    ) {
        let problem = match span.into() {
            Some(span) => Problem::at(&self.source, span, cause.to_owned(), message, remedy),
            None => Problem::of_file(&self.source.name, format!("{}: {message}", self.source.name), remedy),
        };
        self.problems.push(problem.class(class));
    }

    /// Place of the value of `key` (its full name, as in `link.fec.scheme`), if the file has it and
    /// it was read well. Rules ask for it, so that a bad value is reported once.
    pub fn place(&self, key: &str) -> Option<Range<usize>> {
        self.places.get(key).cloned()
    }

    /// Line of the value of `key`, from 1, if it was read well.
    pub fn line(&self, key: &str) -> Option<usize> {
        Some(self.source.line(self.place(key)?.start))
    }

    /// An error about the value of `key`, for rules: `None` when there is no such good value.
    pub fn about(&self, key: &str, cause: &str, message: String, remedy: String) -> Option<Problem> {
        let span = self.place(key)?;
        let problem = Problem::at(&self.source, span, cause.to_owned(), message, remedy);
        Some(problem.class(Class::Structure))
    }
}

/// One table of the file.
pub(super) struct Section<'a, 'i> {
    /// Full name for places: `link.fec`, `stream.0`.
    pub name: String,
    /// As the file writes it, for texts: `[link.fec]`, `[[stream]] number 1`.
    pub title: String,
    /// Where to point when a key is missing; the file itself has no such place.
    span: Option<Range<usize>>,
    table: &'a DeTable<'i>,
    asked: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub fn new(name: &str, title: &str, span: Range<usize>, table: &'a DeTable<'i>) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), span: Some(span), ..Self::file(table) }
    }

    /// The file's outermost table.
    pub fn file(table: &'a DeTable<'i>) -> Self {
        let title = "the site file".to_owned();
        Self { name: String::new(), title, span: None, table, asked: Vec::new() }
    }

    /// Full name of one of its keys.
    pub fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Whether the file gives `key`, well or badly.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of an optional key; `None` when absent, or bad and noted.
    pub fn get<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Read<T>,
    ) -> Option<T> {
        let value = self.raw(key)?;
        match read(value.get_ref()) {
            Ok(read) => {
                notes.places.insert(self.full(key), value.span());
                Some(read)
            }
            Err(fault) => {
                self.fault(notes, key, value.span(), fault);
                None
            }
        }
    }

    /// The value of a key that must be there; `placeholder` when it is missing or bad, and noted.
    pub fn need<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        example: &str,
        placeholder: T,
        read: impl FnOnce(&DeValue<'i>) -> Read<T>,
    ) -> T {
        if !self.has(key) {
            self.missing(notes, key, example);
        }
        self.get(notes, key, read).unwrap_or(placeholder)
    }

    /// The raw value of a key, marked as known.
    pub fn raw(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    /// The table under `key`; `None` when absent, or something else and noted.
    pub fn table(&mut self, notes: &mut Notes, key: &'static str) -> Option<Section<'a, 'i>> {
        let value = self.raw(key)?;
        let full = self.full(key);
        // Tables within a stream have no `[name]` of their own in the file.
        let (title, form) = if self.title.starts_with("[[") || self.title.starts_with('`') {
            (format!("`{key}` of {}", self.title), format!("`{key} = {{ ... }}`"))
        } else {
            (format!("[{full}]"), format!("`[{full}]` and its keys below"))
        };
        if let DeValue::Table(table) = value.get_ref() {
            notes.places.insert(full.clone(), value.span());
            return Some(Section::new(&full, &title, value.span(), table));
        }
        let cause = format!("expected a table, found {}", kind_of(value.get_ref()));
        let fault = Fault::new("is not a table", cause, format!("write {form}"));
        self.fault(notes, key, value.span(), fault);
        None
    }

    /// Like [`Self::table`], for a table that must be there.
    pub fn need_table(&mut self, notes: &mut Notes, key: &'static str, example: &str) -> Option<Section<'a, 'i>> {
        if !self.has(key) {
            // As the file writes it: tables of a list go by the list's name.
            let full = self.full(key);
            let written: Vec<&str> =
                full.split('.').filter(|part| !part.starts_with(|c: char| c.is_ascii_digit())).collect();
            let written = written.join(".");
            notes.error(
                Class::Structure,
                self.span.clone(),
                &format!("has no [{written}]"),
                format!("[{written}] is missing"),
                format!("add `[{written}]` with {example}"),
            );
        }
        self.table(notes, key)
    }

    /// The tables of the list under `key`, and whether these are all of them; what is no table is noted. Each is titled by
    /// its name, or by its number if it has none.
    pub fn tables(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        of: &str,
        remedy: &str,
    ) -> (Vec<Section<'a, 'i>>, bool) {
        let Some(value) = self.raw(key) else { return (Vec::new(), true) };
        let tables = match value.get_ref() {
            DeValue::Array(tables) if !tables.is_empty() => tables,
            other => {
                let cause = match other {
                    DeValue::Array(_) => "the list is empty".to_owned(),
                    other => format!("expected [[{key}]] tables, found {}", kind_of(other)),
                };
                let message = format!("`{key}` is not a list of {of}");
                notes.error(Class::Value, value.span(), &cause, message, remedy.to_owned());
                return (Vec::new(), false);
            }
        };
        let mut sections = Vec::with_capacity(tables.len());
        for (at, value) in tables.iter().enumerate() {
            if let DeValue::Table(table) = value.get_ref() {
                let title = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                    Some(name) => format!("[[{key}]] \"{}\"", name.escape_debug()),
                    None => format!("[[{key}]] number {}", at + 1),
                };
                sections.push(Section::new(&format!("{key}.{at}"), &title, value.span(), table));
            } else {
                let message = format!("[[{key}]] number {} is not a table", at + 1);
                let cause = format!("found {}", kind_of(value.get_ref()));
                notes.error(Class::Value, value.span(), &cause, message, remedy.to_owned());
            }
        }
        let all = sections.len() == tables.len();
        (sections, all)
    }

    /// Each entry of the list under `key` as `read` reads it, every bad one noted at its own place; none when the key is absent.
    pub fn list<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        example: &str,
        read: impl Fn(&DeValue<'i>) -> Read<T>,
    ) -> Vec<T> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let DeValue::Array(entries) = value.get_ref() else {
            let cause = format!("expected a list, found {}", kind_of(value.get_ref()));
            let fault = Fault::new("is not a list", cause, format!("write it like {example}"));
            self.fault(notes, key, value.span(), fault);
            return Vec::new();
        };
        let mut list = Vec::with_capacity(entries.len());
        for entry in entries {
            match read(entry.get_ref()) {
                Ok(entry) => list.push(entry),
                Err(fault) => self.fault(notes, key, entry.span(), fault),
            }
        }
        list
    }

    /// Notes that `key` has no place in this table, whatever its value.
    pub fn foreign(&mut self, notes: &mut Notes, key: &'static str, cause: &str, what: &str, remedy: String) {
        // A key that is not there stays unknown to the table: no remedy is to propose it.
        if self.has(key)
            && let Some(value) = self.raw(key)
        {
            let message = format!("`{key}` in {} {what}", self.title);
            notes.error(Class::Structure, value.span(), cause, message, remedy);
        }
    }

    /// Notes that `key` must be there and is not.
    pub fn missing(&self, notes: &mut Notes, key: &str, example: &str) {
        notes.error(
            Class::Structure,
            self.span.clone(),
            &format!("has no `{key}`"),
            format!("`{key}` is missing in {}", self.title),
            format!("add `{key} = {example}`"),
        );
    }

    /// Notes a bad value of `key`.
    pub fn fault(&self, notes: &mut Notes, key: &str, span: Range<usize>, fault: Fault) {
        let message = format!("`{key}` in {} {}", self.title, fault.what);
        notes.error(Class::Value, span, &fault.cause, message, fault.remedy);
    }

    /// Notes every key that nobody asked for. To be called when all keys have been.
    pub fn finish(self, notes: &mut Notes) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let remedy = nearest(name, self.asked.iter().copied()).map_or_else(
                || format!("remove it; {} takes {}", self.title, self.asked.join(", ")),
                |known| format!("did you mean `{known}`?"),
            );
            let cause = format!("not a key of {}", self.title);
            let message = format!("unknown key `{}` in {}", name.escape_debug(), self.title);
            notes.error(Class::Structure, key.span(), &cause, message, remedy);
        }
    }
}

/// The known word closest to `word`, if it is close enough to be a slip of the pen.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Longer than any key: not a slip, and the comparison below is quadratic.
    const LONGEST_CHARS: usize = 40;
    if word.len() > LONGEST_CHARS {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .map(|candidate| (edits(&lower, candidate), candidate))
        .min()
        .filter(|(edits, candidate)| *edits <= candidate.len().div_ceil(4).max(1))
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and substitutions between two words (Levenshtein).
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substitution = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("same", "same"), 0);
    }

    #[test]
    fn only_slips_of_the_pen_get_a_proposal() {
        let known = ["deadline", "flush", "hold"];
        assert_eq!(nearest("deadlin", known.into_iter()), Some("deadline"));
        assert_eq!(nearest("Flush", known.into_iter()), Some("flush"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(10_000), known.into_iter()), None);
    }
}
