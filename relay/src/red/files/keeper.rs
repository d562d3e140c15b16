//! Brings a file that has come whole to its place, and does not give up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::state::{Entry, Phase, Unfinished, Whole};
use super::store::{Store, temporary};
use crate::files::{ContentHash, Endpoint, EndpointError, FileName, Trouble};

/// After the first failure ...
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// ... and after many: a server that is back is noticed within a minute.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Bytes read and written at a time: large enough that neither a disk nor a server's round trip counts.
const PIECE_BYTES: usize = 1 << 20;

/// Cleans up after the last run, then stores what it has left.
pub(super) async fn recover(store: Arc<Store>) {
    let unfinished = store.take_unfinished();
    let files: HashSet<Uuid> = unfinished.iter().map(|one| one.whole.file).collect();
    if let Err(error) = delete_strays(&store, &files).await {
        tracing::warn!(files = %store.name, "temporaries of the last run stay: {error}");
    }
    store.set_ready();
    for Unfinished { whole, storing } in unfinished {
        tracing::info!(files = %store.name, file = %whole.file, "stores {} of the last run", whole.name);
        tokio::spawn(keep_from(Arc::clone(&store), whole, storing));
    }
}

/// Deletes temporaries of files that did not become whole.
async fn delete_strays(store: &Store, files: &HashSet<Uuid>) -> Result<(), EndpointError> {
    let mut shelf = store.shelf().take().await?;
    for found in shelf.list(&mut |_| {}).await? {
        let last = String::from_utf8_lossy(found.name.last()).into_owned();
        let file = if store.is_local() { store.file_of_temporary(&last) } else { last.parse().ok() };
        if file.is_some_and(|file| !files.contains(&file)) {
            shelf.delete(&found.name).await?;
        }
    }
    store.shelf().give_back(shelf);
    Ok(())
}

/// Stores a file, however long that takes.
pub(super) async fn keep(store: Arc<Store>, whole: Arc<Whole>) {
    keep_from(store, whole, false).await;
}

async fn keep_from(store: Arc<Store>, whole: Arc<Whole>, mut storing: bool) {
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    loop {
        match store_once(&store, &whole, &mut storing).await {
            Ok(true) => return store.conclude(&whole),
            Ok(false) => return lose(&store, &whole),
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    let what = format!("file {} {} is here and waits to be stored: {text}", whole.file, whole.name);
                    store.tell("file_waits", what);
                    told = text;
                }
                let stuck = matches!(error.trouble, Trouble::Exists | Trouble::Name);
                let phase = if stuck { Phase::Stuck } else { Phase::Whole };
                store.set_phase(whole.file, phase(Arc::clone(&whole)));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The temporary of a file is gone, and not because it has its name: it has to come again.
fn lose(store: &Store, whole: &Whole) {
    const WHAT: &str = "its temporary was removed from RED's state folder";
    store.scribe.note(Entry::Dropped(whole.file));
    store.forget(whole.file);
    store.account.dropped(&store.scribe, whole, WHAT);
    store.tell("file_failed", format!("file {} {} was whole, but {WHAT}; send it again", whole.file, whole.name));
}

/// True: the file has its name. False: there is nothing left of it.
async fn store_once(store: &Store, whole: &Whole, storing: &mut bool) -> Result<bool, EndpointError> {
    let mut target = store.target.take().await?;
    let stored = if store.is_local() {
        commit(store, &mut *target, whole, &temporary_name(store, whole)?).await
    } else {
        upload(store, &mut *target, whole, storing).await
    };
    if !stored.as_ref().is_err_and(|error| error.trouble == Trouble::Gone) {
        store.target.give_back(target);
    }
    stored
}

fn temporary_name(store: &Store, whole: &Whole) -> Result<FileName, EndpointError> {
    let name = store.temporary(whole.file, &whole.name);
    name.map_err(|fault| EndpointError::new(Trouble::Name, format!("store {}", whole.name), fault))
}

/// Gives a whole temporary of the target its name.
async fn commit(
    store: &Store,
    target: &mut dyn Endpoint,
    whole: &Whole,
    from: &FileName,
) -> Result<bool, EndpointError> {
    match target.commit(from, &whole.name).await {
        Ok(()) => Ok(true),
        // Nothing but a commit takes it away: the last one was not heard of.
        Err(error) if error.trouble == Trouble::Missing && target.stat(from).await?.is_none() => Ok(true),
        Err(error) if error.trouble == Trouble::Exists && is_same(target, whole).await? => {
            target.delete(from).await?;
            tracing::info!(files = %store.name, file = %whole.file, "{} is there already, with this content", whole.name);
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Is the file of this name the one that is to be stored?
async fn is_same(target: &mut dyn Endpoint, whole: &Whole) -> Result<bool, EndpointError> {
    let size_bytes = target.stat(&whole.name).await?.map(|attributes| attributes.size_bytes);
    if size_bytes != Some(whole.attributes.size_bytes) {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    target.open(&whole.name, 0).await?;
    loop {
        let bytes = target.read(PIECE_BYTES).await?;
        if bytes.is_empty() {
            return Ok(ContentHash::from(hasher.finalize()) == whole.hash);
        }
        hasher.update(&bytes);
    }
}

/// Copies a file from the spool to a temporary on the server, and gives it its name there.
async fn upload(
    store: &Store,
    target: &mut dyn Endpoint,
    whole: &Whole,
    storing: &mut bool,
) -> Result<bool, EndpointError> {
    let (spooled, remote) = (temporary_name(store, whole)?, whole.name.beside(&temporary(store.channel, whole.file)));
    let remote = remote.map_err(|fault| EndpointError::new(Trouble::Name, format!("store {}", whole.name), fault))?;
    if *storing && target.stat(&remote).await?.is_none() {
        // It was about to get its name when the server or this host went away.
        let found = target.stat(&whole.name).await?;
        *storing = false;
        if found.is_some_and(|found| found.size_bytes == whole.attributes.size_bytes) {
            return unspool(store, &spooled).await;
        }
    }
    let mut spool = store.spool.take().await?;
    if spool.stat(&spooled).await?.is_none() {
        return Ok(false);
    }
    target.create(&remote).await?;
    spool.open(&spooled, 0).await?;
    loop {
        let bytes = spool.read(PIECE_BYTES).await?;
        if bytes.is_empty() {
            break;
        }
        target.append(bytes).await?;
    }
    store.spool.give_back(spool);
    target.sync(&whole.attributes).await?;
    let written = store.scribe.write(vec![Entry::Storing(whole.file)]).await;
    written.map_err(|error| EndpointError::new(Trouble::Other, format!("store {}", whole.name), error))?;
    *storing = true;
    let committed = commit(store, target, whole, &remote).await;
    if committed.as_ref().is_err_and(|error| error.trouble != Trouble::Gone) {
        *storing = false;
        // Nobody but us knows what it is; the next attempt makes it anew.
        let _ = target.delete(&remote).await;
    }
    committed?;
    unspool(store, &spooled).await
}

async fn unspool(store: &Store, spooled: &FileName) -> Result<bool, EndpointError> {
    let mut spool = store.spool.take().await?;
    spool.delete(spooled).await?;
    store.spool.give_back(spool);
    Ok(true)
}
