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
    let home = store.shelf().place();
    for Unfinished { whole, storing } in store.take_unfinished() {
        tracing::info!(files = %store.name, file = %whole.file, "stores {} of the last run", whole.name);
        // The last run may have been killed in a folder's rename: that is not written down before.
        let storing = storing || store.is_local();
        tokio::spawn(keep_from(Arc::clone(&store), whole, Arc::clone(&home), storing));
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

/// Stores a file that lies in `home`, however long that takes.
pub(super) async fn keep(store: Arc<Store>, whole: Arc<Whole>, home: Arc<Place>) {
    keep_from(store, whole, home, false).await;
}

/// `storing`: it may have its name already.
async fn keep_from(store: Arc<Store>, whole: Arc<Whole>, home: Arc<Place>, mut storing: bool) {
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    loop {
        match store_once(&store, &whole, &mut storing).await {
            Ok(true) => return store.conclude(&whole).await,
            Ok(false) => return lose(&store, &whole, &home).await,
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
async fn lose(store: &Store, whole: &Whole, home: &Place) {
    const WHAT: &str = "its temporary is not in its folder any more";
    if *home != *store.shelf().place()
        && let Ok(mut before) = connect(home).await
    {
        // A reload has changed the place. Nobody else would delete it there, and it harms nobody.
        let _ = before.delete(&whole.temporary).await;
    }
    store.scribe.note(Entry::Dropped(whole.file));
    store.forget(whole.file);
    store.account.dropped(&store.scribe, whole, WHAT);
    store.tell(
        "file_failed",
        format!("file {} {} was whole, but {WHAT}; it has to be sent again", whole.file, whole.name),
    );
}

/// True: the file has its name. False: there is nothing left of it.
async fn store_once(store: &Store, whole: &Whole, storing: &mut bool) -> Result<bool, EndpointError> {
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
        // It was about to get its name when the server or this host went away.
        let found = target.stat(&whole.name).await?;
        *storing = false;
        if found.is_some_and(|found| found.size_bytes == whole.attributes.size_bytes) {
            return unspool(store, spooled).await;
        }
    }
    let mut spool = store.spool.take().await?;
    if spool.stat(spooled).await?.is_none() {
        return Ok(false);
    }
    let copied = copy(&mut *spool, spooled, target, &remote, whole).await;
    store.spool.give_back(spool);
    if let Err(error) = copied {
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

async fn copy(
    spool: &mut dyn Endpoint,
    spooled: &FileName,
    target: &mut dyn Endpoint,
    remote: &FileName,
    whole: &Whole,
) -> Result<(), EndpointError> {
    spool.open(spooled, 0).await?;
    target.create(remote).await?;
    loop {
        let bytes = spool.read(PIECE_BYTES).await?;
        if bytes.is_empty() {
            return target.sync(&whole.attributes).await;
        }
        target.append(bytes).await?;
    }
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
