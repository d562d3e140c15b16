//! How fast a large file is written and read through an endpoint: figures, nothing asserted of them.

use std::time::Instant;

use bytes::Bytes;
use relay::files::endpoint::connect;
use relay::files::{Attributes, Endpoint, EndpointError, FileName};

use crate::contract::Subject;

/// A file of this size is written and read.
const FILE_BYTES: usize = 256_000_000;
/// As much at a time as a sender asks for.
const CHUNK_BYTES: usize = 256 << 10;

/// Prints the rates of writing, with all that makes the file safe, and of reading.
pub async fn print(subject: &Subject) {
    let mut endpoint = connect(&subject.place).await.unwrap_or_else(|error| panic!("{error}"));
    let kind = subject.place.kind.name();
    let started = Instant::now();
    write(endpoint.as_mut()).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{kind} write: {:.0} MB/s", rate(started));
    let started = Instant::now();
    read(endpoint.as_mut()).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{kind} read: {:.0} MB/s", rate(started));
}

fn rate(started: Instant) -> f64 {
    FILE_BYTES as f64 / 1e6 / started.elapsed().as_secs_f64()
}

fn name() -> FileName {
    FileName::new("large").expect("a name")
}

async fn write(endpoint: &mut dyn Endpoint) -> Result<(), EndpointError> {
    let chunk = Bytes::from(vec![0x5A; CHUNK_BYTES]);
    endpoint.create(&name()).await?;
    let mut left = FILE_BYTES;
    while left > 0 {
        let bytes = chunk.slice(..left.min(CHUNK_BYTES));
        left -= bytes.len();
        endpoint.append(bytes).await?;
    }
    endpoint.sync(&Attributes { size_bytes: FILE_BYTES as u64, ..Attributes::default() }).await
}

async fn read(endpoint: &mut dyn Endpoint) -> Result<(), EndpointError> {
    endpoint.open(&name(), 0).await?;
    let mut read = 0;
    loop {
        let bytes = endpoint.read(CHUNK_BYTES).await?;
        if bytes.is_empty() {
            assert_eq!(read, FILE_BYTES);
            return Ok(());
        }
        read += bytes.len();
    }
}
