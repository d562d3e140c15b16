//! All files of a place, folder by folder.

use std::collections::VecDeque;

use suppaftp::Status;
use tokio::io::AsyncReadExt as _;

use super::super::{Attributes, EndpointError, Found, Trouble};
use super::listing::{self, Entry, Kind};
use super::path;
use super::reply::Fault;
use super::session::{Session, Transfer, within};
use crate::files::FileName;

/// Longest listing of one folder, bytes: half a million names. More is no listing.
const LISTING_BYTES_MAX: usize = 64 << 20;
/// Most folders of a place. More are links that lead in a circle.
const FOLDERS_MAX: usize = 100_000;
/// Taken from a listing at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Lists the place.
pub async fn list(
    session: &mut Session,
    unusable: &mut (dyn FnMut(String) + Send),
) -> Result<Vec<Found>, EndpointError> {
    let mut found = Vec::new();
    let mut folders = VecDeque::from([None]);
    let mut folders_left = FOLDERS_MAX;
    while let Some(folder) = folders.pop_front() {
        let Some(listing) = one_folder(session, folder.as_ref(), unusable).await? else { continue };
        let parse = if session.has_facts() { listing::facts } else { listing::listed };
        for entry in listing::lines(&listing).filter_map(parse) {
            let Some(name) = usable(&entry, folder.as_ref(), unusable) else { continue };
            if entry.kind == Kind::File {
                match complete(session, name, &entry).await? {
                    Some(file) => found.push(file),
                    None => unusable(shown(folder.as_ref(), entry.name)),
                }
            } else {
                folders_left = folders_left.checked_sub(1).ok_or_else(|| {
                    let why = format!("it has more than {FOLDERS_MAX} folders");
                    EndpointError::new(Trouble::Other, format_args!("list {}", session.server()), why)
                })?;
                folders.push_back(Some(name));
            }
        }
    }
    Ok(found)
}

/// The name of a file or folder that can be asked for; what has another is told, what is neither is passed over.
fn usable(entry: &Entry<'_>, folder: Option<&FileName>, unusable: &mut (dyn FnMut(String) + Send)) -> Option<FileName> {
    if entry.kind == Kind::Other || matches!(entry.name, b"." | b"..") {
        return None;
    }
    let name = if entry.name.contains(&b'/') { None } else { FileName::new(entry.name).ok() };
    let name = name.and_then(|name| folder.map_or(Ok(name.clone()), |folder| name.inside(folder)).ok());
    let name = name.filter(|name| path::is_possible(name.as_bytes()));
    if name.is_none() {
        unusable(shown(folder, entry.name));
    }
    name
}

/// What has no usable name, for people.
fn shown(folder: Option<&FileName>, name: &[u8]) -> String {
    let folder = folder.map(|folder| format!("{folder}/")).unwrap_or_default();
    format!("{folder}{}", name.escape_ascii())
}

/// A file with what the listing did not say; `None` if there is none of this name: gone meanwhile, or shown as another.
async fn complete(session: &mut Session, name: FileName, entry: &Entry<'_>) -> Result<Option<Found>, EndpointError> {
    let mut known = Attributes { size_bytes: 0, modified: entry.modified, mode: entry.mode };
    if let Some(size_bytes) = entry.size_bytes {
        known.size_bytes = size_bytes;
        if known.modified.is_none() {
            let what = format!("look at {name} on {}", session.server());
            let argument = session.argument(&name)?;
            known.modified = session.modified(&argument, &what).await?;
        }
        if known.modified.is_some() {
            return Ok(Some(Found { name, attributes: known }));
        }
    }
    let known = session.look(&name).await?;
    Ok(known.filter(|(kind, _)| *kind == Kind::File).map(|(_, attributes)| Found { name, attributes }))
}

/// The listing of one folder; `None` if a folder of the place has gone meanwhile, or may not be looked into, which is told.
async fn one_folder(
    session: &mut Session,
    folder: Option<&FileName>,
    unusable: &mut (dyn FnMut(String) + Send),
) -> Result<Option<Vec<u8>>, EndpointError> {
    let shown = folder.map_or_else(|| "all".to_owned(), |folder| format!("the folder {folder}"));
    let what = format!("list {shown} on {}", session.server());
    let argument = session.folder_argument(folder)?;
    let listing = match begin(session, argument).await {
        Ok(transfer) => whole(transfer, session).await,
        Err(fault) => Err(fault),
    };
    match (listing, folder) {
        (Ok(listing), _) => Ok(Some(listing)),
        (Err(Fault::Refused(refusal)), Some(folder)) if refusal.trouble() != Some(Trouble::Gone) => {
            if refusal.trouble() != Some(Trouble::Missing) {
                unusable(format!("{folder}/"));
            }
            Ok(None)
        }
        (Err(fault), _) => Err(fault.during_or(Trouble::Missing, what)),
    }
}

/// Asks for a listing. LIST takes patterns and options in many servers: there it is that of the folder one is in.
async fn begin(session: &mut Session, argument: String) -> Result<Transfer, Fault> {
    if session.has_facts() {
        return session.download(format!("MLSD {argument}")).await;
    }
    session.command(format!("CWD {argument}"), &[Status::RequestedFileActionOk, Status::CommandOk]).await?;
    session.download("LIST".to_owned()).await
}

/// Reads a listing to its end.
async fn whole(mut transfer: Transfer, session: &Session) -> Result<Vec<u8>, Fault> {
    let mut listing = Vec::new();
    loop {
        listing.reserve(CHUNK_BYTES);
        let read = tokio::time::timeout(session.answer_max(), transfer.read_buf(&mut listing)).await;
        match read {
            Ok(Ok(0)) => break,
            Ok(Ok(_)) if listing.len() <= LISTING_BYTES_MAX => {}
            Ok(Ok(_)) => return Err(Fault::Broken(format!("the listing is longer than {LISTING_BYTES_MAX} bytes"))),
            // Some servers end TLS by closing the connection.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Ok(Err(error)) => return Err(Fault::Broken(error.to_string())),
            Err(_) => return Err(Fault::Broken(format!("no answer within {:?}", session.answer_max()))),
        }
    }
    within(session.answer_max(), transfer.finish()).await?;
    Ok(listing)
}
