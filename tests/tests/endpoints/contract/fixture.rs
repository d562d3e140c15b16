//! What the behaviours share: files put beside the endpoint, and whole files through it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use relay::config::Place;
use relay::files::endpoint::connect;
use relay::files::{Attributes, Endpoint, EndpointError, FileName, Found, Trouble};

use super::Subject;

/// Most bytes asked for at a time; less than most files have, and no power of two.
const CHUNK_BYTES: usize = 50_000;
/// Permissions of what a test puts into a place.
pub const MODE: u32 = 0o640;

/// A connection, which has to be possible.
pub async fn connected(place: &Place) -> Box<dyn Endpoint> {
    connect(place).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A name, which has to be one.
pub fn name(bytes: impl Into<Vec<u8>>) -> FileName {
    FileName::new(bytes).expect("a name")
}

/// Bytes that differ from file to file and at every offset.
pub fn content(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = move || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Where this process sees a file of the place.
pub fn path(subject: &Subject, name: &FileName) -> PathBuf {
    subject.root.join(std::ffi::OsStr::from_bytes(name.as_bytes()))
}

/// Gives a path to whom the server is.
fn own(subject: &Subject, path: &Path) {
    if let Some((user, group)) = subject.owner {
        chown(path, Some(user), Some(group)).expect("chown");
    }
}

/// Puts a file into the place, past the endpoint; folders of it are made.
pub fn put(subject: &Subject, name: &FileName, content: &[u8]) {
    let mut folder = subject.root.clone();
    for part in name.folder().iter().flat_map(FileName::parts) {
        folder.push(std::ffi::OsStr::from_bytes(part));
        if !folder.exists() {
            fs::create_dir(&folder).expect("a folder");
            own(subject, &folder);
        }
    }
    let path = path(subject, name);
    fs::write(&path, content).unwrap_or_else(|error| panic!("{name}: {error}"));
    fs::set_permissions(&path, fs::Permissions::from_mode(MODE)).expect("chmod");
    own(subject, &path);
}

/// What the place really holds under a name; `None`: nothing.
pub fn held(subject: &Subject, name: &FileName) -> Option<Vec<u8>> {
    fs::read(path(subject, name)).ok()
}

/// All files of the place, by name; none may be unusable.
pub async fn listed(endpoint: &mut dyn Endpoint) -> Vec<Found> {
    let mut found = endpoint.list(&mut |odd| panic!("unusable: {odd}")).await.unwrap_or_else(|error| panic!("{error}"));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The names of all files of the place, sorted.
pub async fn listed_names(endpoint: &mut dyn Endpoint) -> Vec<FileName> {
    listed(endpoint).await.into_iter().map(|found| found.name).collect()
}

/// Reads what is open to its end.
pub async fn rest(endpoint: &mut dyn Endpoint) -> Result<Vec<u8>, EndpointError> {
    let mut all = Vec::new();
    loop {
        let bytes = endpoint.read(CHUNK_BYTES).await?;
        assert!(bytes.len() <= CHUNK_BYTES, "more than was asked for");
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&bytes);
    }
}

/// Reads a file from an offset on.
pub async fn fetch(endpoint: &mut dyn Endpoint, name: &FileName, offset_bytes: u64) -> Result<Vec<u8>, EndpointError> {
    endpoint.open(name, offset_bytes).await?;
    rest(endpoint).await
}

/// Writes a file, and nothing more.
pub async fn write(endpoint: &mut dyn Endpoint, name: &FileName, content: &[u8]) -> Result<(), EndpointError> {
    endpoint.create(name).await?;
    for chunk in content.chunks(CHUNK_BYTES) {
        endpoint.append(Bytes::copy_from_slice(chunk)).await?;
    }
    endpoint.sync(&Attributes { size_bytes: content.len() as u64, ..Attributes::default() }).await
}

/// Writes a file under a temporary name beside its own and commits it.
pub async fn store(endpoint: &mut dyn Endpoint, name: &FileName, content: &[u8]) -> Result<(), EndpointError> {
    let temporary = name.beside(".relay-1.part").expect("a name");
    write(endpoint, &temporary, content).await?;
    endpoint.commit(&temporary, name).await
}

/// Checks that something failed, and how; gives the error's text.
pub fn trouble<T>(result: Result<T, EndpointError>, expected: Trouble) -> String {
    match result {
        Ok(_) => panic!("no trouble, and not {expected:?}"),
        Err(error) => {
            assert_eq!(error.trouble, expected, "{error}");
            error.to_string()
        }
    }
}
