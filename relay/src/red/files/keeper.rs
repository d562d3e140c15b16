//! Brings a file that has come whole to its place, and does not give up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::state::{Entry, Phase, Unfinished, Whole};
use super::store::{Store, temporary};
use crate::config::Place;
use crate::files::endpoint::connect;
use crate::files::{ContentHash, Endpoint, EndpointError, FileName, Trouble};

/// After the first failure ...
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// ... and after many: a server that is back is noticed within a minute.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Bytes read and written at a time: large enough that neither a disk nor a server's round trip counts.
const PIECE_BYTES: usize = 1 << 20;

/// Cleans up after the last run, then stores what it has left.
pub(super) async fn recover(store: Arc<Store>) {
    if let Err(error) = store.clean().await {
        store.tell("place", format!("{error}; temporaries of the last run stay until the place is in order"));
    }
    store.set_ready();
    for Unfinished { whole, storing } in store.take_unfinished() {
        tracing::info!(files = %store.name, file = %whole.file, "stores {} of the last run", whole.name);
        // The last run may have been killed in a folder's rename: that is not written down before.
        let storing = storing || store.is_local();
        tokio::spawn(keep(Arc::clone(&store), whole, storing));
    }
}

/// Deletes temporaries, except for those that are `wanted`.
pub(super) async fn delete_strays(store: &Store, wanted: &HashSet<FileName>) -> Result<(), EndpointError> {
    let mut shelf = store.shelf().take().await?;
    for found in shelf.list(&mut |_| {}).await? {
        if store.is_temporary(&found.name) && !wanted.contains(&found.name) {
            shelf.delete(&found.name).await?;
        }
    }
    store.shelf().give_back(shelf);
    Ok(())
}

/// Stores a file, however long that takes. `storing`: it may have its name already.
pub(super) async fn keep(store: Arc<Store>, mut whole: Arc<Whole>, mut storing: bool) {
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    loop {
        let turn = store.turn().await;
        // Thousands may wait for their turn: what they need later is made later.
        let stored = Box::pin(store_once(&store, &mut whole, &mut storing)).await;
        drop(turn);
        match stored {
            Ok(true) => return store.conclude(&whole).await,
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
    const WHAT: &str = "its temporary is not in its folder any more, or is damaged";
    store.scribe.note(Entry::Dropped(whole.file));
    store.forget(whole.file);
    store.account.dropped(&store.scribe, whole, WHAT);
    store.tell(
        "file_failed",
        format!("file {} {} was whole, but {WHAT}; it has to be sent again", whole.file, whole.name),
    );
}

/// True: the file has its name. False: there is nothing left of it.
async fn store_once(store: &Store, whole: &mut Arc<Whole>, storing: &mut bool) -> Result<bool, EndpointError> {
    if whole.place != store.shelf().place().path {
        match bring(store, whole, *storing).await? {
            Moved::Brought(brought) => (*whole, *storing) = (brought, false),
            Moved::Stored => return Ok(true),
            Moved::Lost => return Ok(false),
        }
    }
    let mut target = store.target.take().await?;
    let stored = if store.is_local() {
        rename(store, &mut *target, whole, storing).await
    } else {
        upload(store, &mut *target, whole, storing).await
    };
    if !stored.as_ref().is_err_and(|error| error.trouble == Trouble::Gone) {
        store.target.give_back(target);
    }
    stored
}

/// What became of a file whose place is not the target's any more.
enum Moved {
    /// It is where the target's files lie now, and the journal knows that.
    Brought(Arc<Whole>),
    /// It had got its name before.
    Stored,
    /// There is nothing left of it.
    Lost,
}

/// Brings a file from where it came whole to where such files lie now: its original may be gone.
async fn bring(store: &Store, whole: &Whole, storing: bool) -> Result<Moved, EndpointError> {
    let mut before = match connect(&Place::folder(&whole.place)).await {
        Err(error) if error.trouble == Trouble::Missing => return Ok(Moved::Lost),
        connected => connected?,
    };
    if before.stat(&whole.temporary).await?.is_none() {
        let named = storing && before.folder_mark(&whole.temporary).await.is_ok_and(|folder| folder == whole.folder);
        return Ok(if named { Moved::Stored } else { Moved::Lost });
    }
    let trouble = |why: &dyn std::fmt::Display| {
        EndpointError::new(Trouble::Other, format!("bring {} from {}", whole.name, whole.place), why)
    };
    let temporary = store.temporary(whole.file.into_bytes(), &whole.name).map_err(|fault| trouble(&fault))?;
    let mut shelf = store.shelf().take().await?;
    shelf.create(&temporary).await?;
    let hash = copy(&mut *before, &whole.temporary, &mut *shelf).await?;
    if hash != whole.hash {
        shelf.delete(&temporary).await?;
        return Ok(Moved::Lost);
    }
    let attributes = store.shelved(&shelf, &whole.attributes);
    shelf.sync(&attributes).await?;
    let (folder, place) = (shelf.folder_mark(&temporary).await?, shelf.place().path.clone());
    let brought = Arc::new(Whole { temporary, place, folder, ..whole.clone() });
    store.scribe.write(vec![Entry::Whole((*brought).clone())]).await.map_err(|unwritten| trouble(&unwritten))?;
    store.set_phase(whole.file, Phase::Whole(Arc::clone(&brought)));
    store.shelf().give_back(shelf);
    // It harms nobody where it was.
    let _ = before.delete(&whole.temporary).await;
    Ok(Moved::Brought(brought))
}

/// Writes the file `name` of `from` to what is created in `to`; gives its hash.
async fn copy(from: &mut dyn Endpoint, name: &FileName, to: &mut dyn Endpoint) -> Result<ContentHash, EndpointError> {
    let mut hasher = blake3::Hasher::new();
    from.open(name, 0).await?;
    loop {
        let bytes = from.read(PIECE_BYTES).await?;
        if bytes.is_empty() {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&bytes);
        to.append(bytes).await?;
    }
}

/// Gives a temporary of a folder its name.
async fn rename(
    store: &Store,
    target: &mut dyn Endpoint,
    whole: &Whole,
    storing: &mut bool,
) -> Result<bool, EndpointError> {
    let from = &whole.temporary;
    let error = match commit(store, target, whole, from).await {
        Ok(()) => return Ok(true),
        Err(error) => error,
    };
    match error.trouble {
        Trouble::Missing if target.stat(from).await?.is_none() => {
            // Only an earlier try can have given it its name, and only if this is the folder in which it lay.
            Ok(*storing && target.folder_mark(from).await.is_ok_and(|folder| folder == whole.folder))
        }
        trouble => {
            // What failed may have been no more than bringing the folder to disk.
            *storing |= !matches!(trouble, Trouble::Exists | Trouble::Name | Trouble::Denied);
            Err(error)
        }
    }
}

/// Gives a whole temporary of the target its name, or deletes it where a file with this name and content is there.
async fn commit(store: &Store, target: &mut dyn Endpoint, whole: &Whole, from: &FileName) -> Result<(), EndpointError> {
    match target.commit(from, &whole.name).await {
        Err(error) if error.trouble == Trouble::Exists && is_same(target, whole).await? => {
            target.delete(from).await?;
            tracing::info!(files = %store.name, file = %whole.file, "{} is there already, with this content", whole.name);
            Ok(())
        }
        committed => committed,
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
    let spooled = &whole.temporary;
    let remote = whole
        .name
        .beside(&temporary(store.channel, whole.file))
        .map_err(|fault| EndpointError::new(Trouble::Name, format!("store {}", whole.name), fault))?;
    if *storing && target.stat(&remote).await?.is_none() {
        // It was about to get its name when the server or this host went away; or the name was taken, and its temporary deleted.
        let is_there = is_same(target, whole).await?;
        *storing = false;
        if is_there {
            return unspool(store, spooled).await;
        }
    }
    let mut spool = store.spool.take().await?;
    if spool.stat(spooled).await?.is_none() {
        return Ok(false);
    }
    let hash = fill(&mut *spool, spooled, target, &remote, whole).await;
    if hash.as_ref().is_ok_and(|hash| *hash != whole.hash) {
        // Not what came: it is of no use any more.
        spool.delete(spooled).await?;
        target.delete(&remote).await?;
        return Ok(false);
    }
    store.spool.give_back(spool);
    if let Err(error) = hash {
        return Err(discard(target, &remote, error).await);
    }
    let written = store.scribe.write(vec![Entry::Storing(whole.file)]).await;
    written.map_err(|error| EndpointError::new(Trouble::Other, format!("store {}", whole.name), error))?;
    *storing = true;
    if let Err(error) = commit(store, target, whole, &remote).await {
        *storing = error.trouble == Trouble::Gone;
        return Err(discard(target, &remote, error).await);
    }
    unspool(store, spooled).await
}

/// Makes the temporary `remote` on the server of what is in the spool; gives its hash.
async fn fill(
    spool: &mut dyn Endpoint,
    spooled: &FileName,
    target: &mut dyn Endpoint,
    remote: &FileName,
    whole: &Whole,
) -> Result<ContentHash, EndpointError> {
    target.create(remote).await?;
    let hash = copy(spool, spooled, target).await?;
    target.sync(&whole.attributes).await?;
    Ok(hash)
}

/// Deletes a temporary on the server after trouble with it, so that it takes no room from other files meanwhile: nobody but us
/// knows what it is, and the next attempt makes it anew.
async fn discard(target: &mut dyn Endpoint, remote: &FileName, error: EndpointError) -> EndpointError {
    if error.trouble != Trouble::Gone {
        let _ = target.delete(remote).await;
    }
    error
}

async fn unspool(store: &Store, spooled: &FileName) -> Result<bool, EndpointError> {
    let mut spool = store.spool.take().await?;
    spool.delete(spooled).await?;
    store.spool.give_back(spool);
    Ok(true)
}
