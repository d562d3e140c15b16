//! The file that is being checked.

use bytes::{Bytes, BytesMut};

use crate::files::{Attributes, Endpoint, EndpointError, FileName};

/// So many of a file's first bytes are shown to checks: every magic is within 512, and 8 KiB tell text from other data.
pub const FIRST_BYTES: usize = 8 << 10;

/// A file in its place, and what has been read of it.
pub struct Subject<'a> {
    name: &'a FileName,
    attributes: Attributes,
    endpoint: &'a mut dyn Endpoint,
    first: Option<Bytes>,
}

impl<'a> Subject<'a> {
    /// The file `name` of the place behind `endpoint`. Whatever is open there may be closed.
    pub fn new(name: &'a FileName, attributes: Attributes, endpoint: &'a mut dyn Endpoint) -> Self {
        Self { name, attributes, endpoint, first: None }
    }

    /// Its name under its place.
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
        while first.len() < FIRST_BYTES {
            let more = self.read(FIRST_BYTES - first.len()).await?;
            if more.is_empty() {
                break;
            }
            first.extend_from_slice(&more);
        }
        Ok(self.first.insert(first.freeze()).clone())
    }

    /// Opens it at its beginning, for a check that reads all of it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(&mut self) -> Result<(), EndpointError> {
        self.endpoint.open(self.name, 0).await
    }

    /// The next bytes of it, at most `bytes_max`; none: its end. After [`Subject::open`], with nothing else in between.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        self.endpoint.read(bytes_max).await
    }
}
