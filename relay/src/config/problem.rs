//! What can be wrong with a site file, and how it is shown.
//!
//! Owns [`Problem`] (one error or warning with its place, cause and remedy) and [`SiteErrors`] (all
//! of a file's). It never decides what is wrong: the readers and rules do.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, Severity,
    SourceCode, SourceSpan, SpanContents,
};

/// Columns of a shown problem: wide enough for a site file's lines, narrow enough for a console.
const WIDTH_COLUMNS: usize = 100;

/// A site file's text under its name.
#[derive(Debug)]
pub(super) struct Text {
    /// The file, as it was named on the command line.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Text {
    /// Line of the byte `at`, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    /// Column of the byte `at`, from 1, in characters.
    fn column(&self, at: usize) -> usize {
        let before = self.before(at);
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }

    /// Everything before the byte `at`.
    fn before(&self, at: usize) -> &str {
        self.text.get(..self.floor(at)).unwrap_or_default()
    }

    /// The nearest character boundary at or below `at`, within the text: spans of a broken file
    /// are not to be trusted.
    fn floor(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// Shows the whole lines of a span, and no others: what stands around it is not the error.
impl SourceCode for Text {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let start = self.before(span.offset()).rfind('\n').map_or(0, |at| at + 1);
        let last = self.floor(span.offset() + span.len());
        let rest = self.text.get(last..).ok_or(MietteError::OutOfBounds)?;
        let end = last + rest.find('\n').unwrap_or(rest.len());
        let lines = self.text.get(start..end).ok_or(MietteError::OutOfBounds)?;
        // A carriage return of a CRLF file would overwrite what is shown.
        let lines = lines.strip_suffix('\r').unwrap_or(lines);
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            lines.as_bytes(),
            (start, lines.len()).into(),
            self.line(start) - 1,
            // The head shows where the error is, not where its line starts.
            self.column(span.offset()) - 1,
            lines.lines().count(),
        )))
    }
}

/// Where a problem lies in the file.
#[derive(Clone, Debug)]
struct Place {
    text: Arc<Text>,
    /// Byte range in the text, on character boundaries.
    span: Range<usize>,
    /// Said beside the marked text.
    cause: String,
}

/// How sure a problem is when the file's syntax is broken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The text is not TOML.
    Syntax,
    /// A value is wrong in itself: stays true whatever else is broken.
    Value,
    /// A key or table is missing, unknown, or at odds with another one: may be a consequence of
    /// broken syntax, and is withheld then.
    Structure,
}

/// One error or warning of a site file: what, where, why, and what to do.
#[derive(Clone)]
pub struct Problem {
    file: String,
    place: Option<Place>,
    severity: Severity,
    pub(super) class: Class,
    message: String,
    remedy: String,
}

impl Problem {
    /// A problem of the file as a whole, with no line to show.
    pub(super) fn of_file(file: &str, message: String, remedy: String) -> Self {
        Self { file: file.to_owned(), place: None, severity: Severity::Error, class: Class::Value, message, remedy }
    }

    /// A problem at `span` of `text`; `cause` stands beside the marked text.
    pub(super) fn at(text: &Arc<Text>, span: Range<usize>, cause: String, message: String, remedy: String) -> Self {
        let start = text.floor(span.start);
        let span = start..text.floor(span.end).max(start);
        Self {
            place: Some(Place { text: Arc::clone(text), span, cause }),
            ..Self::of_file(&text.name, message, remedy)
        }
    }

    /// The same problem in another class.
    pub(super) fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// The same problem as a warning: the file is usable.
    pub(super) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The file, as it was named on the command line.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line from 1; 0 when the problem has no place in the text.
    pub fn line(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.text.line(place.span.start))
    }

    /// Column from 1 in characters; 0 when the problem has no place in the text.
    pub fn column(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.text.column(place.span.start))
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// The cause, as said beside the marked text; empty when there is no place.
    pub fn cause(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.cause)
    }

    /// Whether the file is usable in spite of it.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// Everything in one line, for logs: `site.toml:3:7: what (why); remedy`.
    pub fn one_line(&self) -> String {
        let mut line = self.file.clone();
        if self.place.is_some() {
            let _ = write!(line, ":{}:{}", self.line(), self.column());
        }
        let _ = write!(line, ": {}", self.message);
        if !self.cause().is_empty() {
            let _ = write!(line, " ({})", self.cause());
        }
        let _ = write!(line, "; {}", self.remedy);
        line
    }

    /// Errors before warnings, then by place: the order in which they are shown.
    pub(super) fn rank(&self) -> (bool, usize, usize) {
        (self.is_warning(), self.line(), self.column())
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_warning() { "warning" } else { "error" };
        write!(f, "{kind}: {}", self.one_line())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.remedy))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &*place.text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(Some(place.cause.clone()), place.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Everything that is wrong with a site file. Nothing starts with it.
#[derive(Debug)]
pub struct SiteErrors {
    /// Errors first, then warnings, each by place. At least one is an error.
    pub problems: Vec<Problem>,
}

impl SiteErrors {
    /// How many of the problems are errors.
    pub fn error_count(&self) -> usize {
        self.problems.iter().filter(|problem| !problem.is_warning()).count()
    }
}

/// Every problem with its line, cause and remedy, in plain ASCII.
impl fmt::Display for SiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.problems, false))
    }
}

impl std::error::Error for SiteErrors {}

/// Shows problems to a person: `colour` for a terminal, plain ASCII for files and journals.
pub fn render(problems: &[Problem], colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH_COLUMNS).with_context_lines(0);
    let mut shown = String::new();
    for problem in problems {
        if handler.render_report(&mut shown, problem).is_err() {
            // The renderer refused a span: the one-line form says the same without the text.
            shown.push_str(&problem.one_line());
        }
        shown.push('\n');
    }
    shown
}
