//! The file that is being checked.

use bytes::{Bytes, BytesMut};

use crate::files::{Attributes, Endpoint, EndpointError, FileName};

/// So many of a file's first bytes are shown to checks: every magic is within 512, and 8 KiB tell text from other data.
pub const FIRST_BYTES: usize = 8 << 10;

/// A file in its place, and what has been read of it.
pub struct Subject<'a> {
    name: &'a FileName,
    at: &'a FileName,
    attributes: Attributes,
    endpoint: &'a mut dyn Endpoint,
    first: Option<Bytes>,
    /// What follows the first bytes, if the file has not been opened anew since they were read.
    rest: Option<Rest>,
}

/// What follows the bytes that were read of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// What its place reads next of the file, which is open.
    Open,
    /// Nothing: the file was read to its end, and is closed.
    None,
}

impl<'a> Subject<'a> {
    /// The file that is to cross as `name` and is `at` the place behind `endpoint`. Whatever is open there may be closed.
    pub fn new(name: &'a FileName, at: &'a FileName, attributes: Attributes, endpoint: &'a mut dyn Endpoint) -> Self {
        Self { name, at, attributes, endpoint, first: None, rest: None }
    }

    /// Its name.
    pub fn name(&self) -> &FileName {
        self.name
    }

    /// What was known of it when it was found stable.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Its first [`FIRST_BYTES`], or all if it has fewer. They are read once, whoever asks.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn first_bytes(&mut self) -> Result<Bytes, EndpointError> {
        if let Some(first) = &self.first {
            return Ok(first.clone());
        }
        self.open().await?;
        let mut first = BytesMut::new();
        let mut rest = Rest::Open;
        while first.len() < FIRST_BYTES && rest == Rest::Open {
            let more = self.read(FIRST_BYTES - first.len()).await?;
            if more.is_empty() {
                rest = Rest::None;
            }
            first.extend_from_slice(&more);
        }
        self.rest = Some(rest);
        Ok(self.first.insert(first.freeze()).clone())
    }

    /// Opens it at its beginning, for a check that reads all of it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(&mut self) -> Result<(), EndpointError> {
        self.rest = None;
        self.endpoint.open(self.at, 0).await
    }

    /// The next bytes of it, at most `bytes_max`; none: its end. After [`Subject::open`], with nothing else in between.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        self.endpoint.read(bytes_max).await
    }

    /// Its content from the beginning on: what was read already, if the file is open behind it, and what follows that. What was
    /// checked is so what is sent, whatever has become of the file meanwhile.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn into_content(mut self) -> Result<(Bytes, Rest), EndpointError> {
        if let (Some(first), Some(rest)) = (self.first.take(), self.rest) {
            return Ok((first, rest));
        }
        self.open().await?;
        Ok((Bytes::new(), Rest::Open))
    }
}
