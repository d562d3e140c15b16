//! One file: from the moment that it is taken until nothing is to be done for it any more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::ledger::{Entry, Known, Stage};
use super::source::Source;
use super::transfer::{Attempt, Content, Transfer};
use crate::config::After;
use crate::files::checks::{Subject, Verdict};
use crate::files::frame::{Head, Kind};
use crate::files::{
    ContentHash, Endpoint, EndpointError, FileName, NameFault, Trouble, Unwritten, Writers, session_of,
};

/// After the first attempt that failed ...
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// ... and after many: RED, or a server, that is back is noticed within half a minute.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What to do after an attempt.
enum Next {
    /// It has crossed.
    Finish(ContentHash),
    /// Once more, later.
    Again,
    /// Nothing: it is another file now, or given up, or the relay stops.
    Leave,
}

/// Sends a file that the ledger has as pending, and does with the original what is to be done; nothing if a sender is at work
/// for it already.
pub async fn send(source: Arc<Source>, file: Uuid) {
    while source.enter(file) {
        let is_over = run(&source, file).await;
        source.leave(file);
        // In force again meanwhile: who looked for files without a sender has found this one at work.
        if is_over || !source.is_in_force() {
            return;
        }
    }
}

/// True: there is nothing more to do. False: the channel is not in force any more.
async fn run(source: &Source, file: Uuid) -> bool {
    let mut pause = PAUSE_MIN;
    let mut refusals = 0;
    let mut copies = 0;
    loop {
        let stage = source.ledger().get(file).map(|known| known.stage);
        match stage {
            Some(Stage::Pending) => {}
            Some(Stage::Sent) => return Box::pin(settle(source, file)).await,
            Some(Stage::Done | Stage::Failed) | None => return true,
        }
        // Most files of a hundred thousand wait here: what they need later is made later.
        let Ok(turn) = source.places.acquire().await else { return true };
        if !source.is_in_force() {
            return false;
        }
        let Some(known) = source.ledger().get(file).cloned() else { return true };
        let attempt = Box::pin(attempt(source, file, &known)).await;
        drop(turn);
        if !matches!(attempt, Attempt::Sent(_)) && !source.is_in_force() {
            return false;
        }
        match judge(source, file, &known, attempt, &mut refusals).await {
            Next::Leave => return true,
            Next::Finish(hash) => {
                let rules = source.rules();
                copies += 1;
                if rules.link.answers.is_none() && copies <= rules.files.repeat {
                    continue;
                }
                let sent = Entry::Sent { file, hash, at: SystemTime::now() };
                if source.write(vec![sent]).await.is_ok() {
                    source.counts.sent.fetch_add(1, Relaxed);
                    return Box::pin(settle(source, file)).await;
                }
            }
            Next::Again => {}
        }
        tokio::time::sleep(pause).await;
        if !source.is_in_force() {
            return false;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt(source: &Source, file: Uuid, known: &Known) -> Attempt {
    let Some(at) = &known.at else { return Attempt::Changed };
    let mut place = match source.pool.take().await {
        Ok(place) => place,
        Err(error) => return Attempt::Unreadable(error),
    };
    let now = match place.stat(at).await {
        Ok(Some(now)) if now.is_same_content(&known.attributes) => now,
        Ok(_) => return Attempt::Changed,
        Err(error) => return Attempt::Unreadable(error),
    };
    let rules = source.rules();
    // It was checked when it was found. It may have waited for long, or be sent again: what counts is what it is now.
    let mut subject = Subject::new(&known.name, at, now, &mut *place);
    match rules.chain.check(&mut subject).await {
        Verdict::Pass => {}
        Verdict::Block(why) => return Attempt::Blocked(why),
        Verdict::Fail(why) => return Attempt::Unchecked(why),
    }
    let (first, rest) = match subject.into_content().await {
        Ok(content) => content,
        Err(error) => return Attempt::Unreadable(error),
    };
    let head = Head { file: file.into_bytes(), kind: Kind::File, name: known.name.clone(), attributes: now };
    let active = source.progress.begin(&known.name, now.size_bytes);
    let session = session_of(file, source.next_attempt());
    let transfer = Transfer { link: &rules.link, session, head, active };
    let attempt = transfer.run(Content::File { place: &mut *place, at, first, rest }).await;
    if matches!(attempt, Attempt::Sent(_)) {
        source.pool.give_back(place);
    }
    attempt
}

async fn judge(source: &Source, file: Uuid, known: &Known, attempt: Attempt, refusals: &mut u32) -> Next {
    let shown = format!("file {file} {}", known.name);
    match attempt {
        Attempt::Sent(hash) => return Next::Finish(hash),
        Attempt::Changed => return look_anew(source, file, &format!("{shown} has changed or is gone")),
        // The watcher blocks it, in the one way that there is.
        Attempt::Blocked(why) if known.at.as_ref() == Some(&known.name) => {
            return look_anew(source, file, &format!("{shown} does not pass any more: {why}"));
        }
        Attempt::Blocked(why) => {
            source.counts.blocked.fetch_add(1, Relaxed);
            source.tell(
                "file_blocked",
                format!("{shown} is blocked: {why}; it is not sent again and stays where it is kept"),
            );
            let _ = source.write(vec![Entry::Done { file, kept: known.at.clone() }]).await;
            return Next::Leave;
        }
        Attempt::Unchecked(why) => {
            source.tell("file_unreadable", format!("{shown} cannot be checked: {why}; it is tried again"));
        }
        Attempt::Refused => {
            *refusals += 1;
            let attempts = source.rules().files.attempts;
            if *refusals >= attempts {
                source.counts.failed.fetch_add(1, Relaxed);
                let text = format!(
                    "{shown} is given up: RED could not store it in {attempts} attempts, its log says why; it stays where it is, \
                     `relay resend` sends it again"
                );
                source.tell("file_failed", text);
                // Not on disk: it is tried again after a restart.
                let _ = source.write(vec![Entry::Failed { file }]).await;
                return Next::Leave;
            }
            source.tell("file_refused", format!("{shown}: RED could not store it, its log says why; it is sent again"));
        }
        Attempt::Broken(broken) => {
            source.tell("file_broken", format!("{shown}: {broken}; it is sent again"));
        }
        Attempt::Unanswered => {
            source.tell("file_unanswered", format!("{shown}: RED does not answer; it is sent again"));
        }
        Attempt::Unreadable(error) => source.tell("file_unreadable", format!("{shown}: {error}; it is tried again")),
    }
    Next::Again
}

/// Forgets a file, so that the watcher finds it as a new one, if it is still there.
fn look_anew(source: &Source, file: Uuid, why: &str) -> Next {
    tracing::info!(files = %source.rules().files.name, "{why}: it is looked at anew");
    source.forget(&[file]);
    source.bell.notify_one();
    Next::Leave
}

/// Does with the original of a file that has crossed what is to be done, until it is done. False: the channel is not in force
/// any more.
async fn settle(source: &Source, file: Uuid) -> bool {
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    loop {
        let Some(known) = source.ledger().get(file).cloned() else { return true };
        // A place that keeps its originals would else be asked by all files at once.
        let Ok(turn) = source.hands.acquire().await else { return true };
        let put_away = put_away(source, file, &known).await;
        drop(turn);
        let error = match put_away {
            Ok(kept) => match source.write(vec![Entry::Done { file, kept }]).await {
                Ok(()) => return true,
                Err(Unwritten) => Unwritten.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if error != told {
            source.tell("file_stays", format!("file {file} {} was sent, but its original stays: {error}", known.name));
            told = error;
        }
        tokio::time::sleep(pause).await;
        if !source.is_in_force() {
            return false;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Deletes, moves or keeps an original; gives where it is then. One that was written to since is another file; one that somebody
/// has open for writing stays until that is clear.
async fn put_away(source: &Source, file: Uuid, known: &Known) -> Result<Option<FileName>, EndpointError> {
    let Some(at) = &known.at else { return Ok(None) };
    let mut place = source.pool.take().await?;
    // First, so that the look at the file sees what a writer that has left meanwhile has written.
    let is_kept = at != &known.name || source.rules().files.blue.after == After::Keep;
    if !is_kept && is_being_written(&mut *place, at).await? {
        let what = format!("put {at} away");
        return Err(EndpointError::new(Trouble::Other, what, "somebody has it open for writing"));
    }
    let there = place.stat(at).await?;
    let kept = if there.is_none() && at == &known.name {
        // Deleted, or moved, before this host was killed.
        moved_before(source, &mut *place, file, known).await?
    } else if !there.is_some_and(|now| now.is_same_content(&known.attributes)) {
        None
    } else if at != &known.name {
        // Sent again from where it was kept: there it stays.
        Some(at.clone())
    } else {
        match &source.rules().files.blue.after {
            After::Keep => Some(at.clone()),
            After::Delete => {
                place.delete(at).await?;
                None
            }
            After::Move(folder) => Some(move_to(&mut *place, at, folder, file).await?),
        }
    };
    source.pool.give_back(place);
    Ok(kept)
}

/// Is somebody known to be writing a file? Not if it is gone, or may not be looked at.
async fn is_being_written(place: &mut dyn Endpoint, at: &FileName) -> Result<bool, EndpointError> {
    match place.writers(at).await {
        Err(error) if matches!(error.trouble, Trouble::Missing | Trouble::Denied) => Ok(false),
        writers => Ok(writers? == Writers::Somebody),
    }
}

/// Where a file is that this host may have moved when it was killed.
async fn moved_before(
    source: &Source,
    place: &mut dyn Endpoint,
    file: Uuid,
    known: &Known,
) -> Result<Option<FileName>, EndpointError> {
    let After::Move(folder) = &source.rules().files.blue.after else { return Ok(None) };
    let Ok(names) = names_in(&known.name, folder, file) else { return Ok(None) };
    for name in names {
        if place.stat(&name).await?.is_some_and(|there| there.is_same_content(&known.attributes)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The name of a file in a folder of its place, and the one that it gets if that is taken.
fn names_in(at: &FileName, folder: &str, file: Uuid) -> Result<[FileName; 2], NameFault> {
    let target = FileName::new(folder).and_then(|folder| at.inside(&folder))?;
    let marked = [target.as_bytes(), b".", file.to_string().as_bytes()].concat();
    let marked = FileName::new(marked).or_else(|_| target.beside(&file.to_string()))?;
    Ok([target, marked])
}

/// Moves a file into a folder of its place; where one of its name is there already, under a name with its UUID.
pub async fn move_to(
    place: &mut dyn Endpoint,
    at: &FileName,
    folder: &str,
    file: Uuid,
) -> Result<FileName, EndpointError> {
    let bad = |fault| EndpointError::new(Trouble::Name, format!("move {at} to {folder}"), fault);
    let [target, marked] = names_in(at, folder, file).map_err(bad)?;
    match place.commit(at, &target).await {
        Err(error) if error.trouble == Trouble::Exists => {
            place.commit(at, &marked).await?;
            Ok(marked)
        }
        moved => moved.map(|()| target),
    }
}
