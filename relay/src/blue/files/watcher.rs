//! Watches one place: finds files that have settled, has them checked, and starts their senders.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::Release};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::ledger::{Entry, Known, Stage};
use super::manifests::Manifests;
use super::orders::{self, Order};
use super::sender::{move_to, send};
use super::source::{LinkSide, Rules, Source};
use crate::blue::notice::Notice;
use crate::blue::table::Table;
use crate::blue::tcp::AnswersSender;
use crate::config::{After, Files, Site};
use crate::files::checks::{Chain, Subject, Verdict, is_temporary};
use crate::files::{Attributes, Connection, Endpoint, EndpointError, FileName, Found, Trouble, Writers, new_file};
use crate::host::{Clock, TcpRuntime};
use crate::tcp::FeedSender;

/// Between two looks at least, however much changes: looking at a large folder all the time would be a core's work.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// ... and so many times as long as the last look took: listing is at most a quarter of a core's work.
const LOOK_PAUSE_FACTOR: u32 = 3;
/// Files that are written down and begun together: of a hundred thousand the first need not wait until the last is checked.
const TAKEN_MAX: usize = 256;
/// What BLUE remembers of files is cleaned up this often.
const CLEAN_PERIOD: Duration = Duration::from_mins(10);

/// A file that is not stable yet, or that was blocked as it is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    attributes: Attributes,
    since: Instant,
    /// A check has blocked it, and it stays where it is.
    blocked: bool,
    /// It was told why it is not taken.
    told: bool,
}

/// The watch over one place.
struct Watcher {
    source: Arc<Source>,
    seen: HashMap<FileName, Seen>,
    /// What was told of the place, so that it is told once.
    trouble: Option<String>,
    /// Names that cannot cross, told once.
    unusable: HashSet<String>,
    /// It was told that the place does not say who is writing.
    untold: bool,
    manifests: Manifests,
    cleaned_at: Instant,
}

impl Watcher {
    /// Watches until `stopped`, once the watcher `before` has ended.
    async fn run(mut self, stopped: Arc<AtomicBool>, before: Option<JoinHandle<()>>) {
        if let Some(before) = before {
            // One that has panicked has ended, too.
            let _ = before.await;
        }
        self.resume();
        let mut place = None;
        while !stopped.load(Relaxed) {
            self.orders().await;
            let looks_at = Instant::now();
            let patience = match self.look(&mut place).await {
                Ok(patience) => {
                    if self.trouble.take().is_some() {
                        tracing::info!(files = %self.source.rules().files.name, "the place is in order again");
                    }
                    patience
                }
                Err(error) => {
                    place = None;
                    let text = error.to_string();
                    if self.trouble.as_ref() != Some(&text) {
                        self.source.tell("place", format!("{text}; it is tried again"));
                    }
                    self.trouble = Some(text);
                    self.source.rules().files.poll
                }
            };
            let looked_for = looks_at.elapsed();
            self.manifests.tell(&self.source).await;
            self.wait(&mut place, patience, looked_for).await;
        }
    }

    /// Goes on with what the last run has left.
    fn resume(&self) {
        let open = |stage| matches!(stage, Stage::Pending | Stage::Sent);
        let files: Vec<Uuid> =
            self.source.ledger().iter().filter(|(_, known)| open(known.stage)).map(|(file, _)| file).collect();
        for file in files {
            self.start(file);
        }
    }

    fn start(&self, file: Uuid) {
        tokio::spawn(send(Arc::clone(&self.source), file));
    }

    async fn wait(&self, place: &mut Option<Connection>, patience: Duration, looked_for: Duration) {
        let pause_max = self.source.rules().files.poll.max(LOOK_PAUSE);
        tokio::time::sleep((looked_for * LOOK_PAUSE_FACTOR).clamp(LOOK_PAUSE, pause_max)).await;
        let changed = async {
            match place {
                Some(place) => place.changed(patience).await,
                None => tokio::time::sleep(patience).await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = self.source.bell.notified() => {}
        }
    }

    /// Looks at the place once; gives how long there is nothing to do unless something changes.
    async fn look(&mut self, place: &mut Option<Connection>) -> Result<Duration, EndpointError> {
        let rules = self.source.rules();
        if !rules.files.enabled {
            return Ok(rules.files.poll);
        }
        // A reload may have named another place.
        drop(place.take_if(|place| !self.source.pool.leads_here(place)));
        let place = match place {
            Some(place) => place,
            None => place.insert(self.source.pool.take().await?),
        };
        let found = self.list(&mut **place).await?;
        let looked_at = Instant::now();
        let settled = self.settled(&rules, &found, looked_at);
        let mut taken = Vec::new();
        for (name, attributes) in settled {
            match self.is_to_be_taken(&rules, &mut **place, &name, &attributes).await {
                Ok(true) => {
                    taken.push(Entry::Taken { file: new_file(), name, attributes });
                    if taken.len() == TAKEN_MAX {
                        self.take(std::mem::take(&mut taken)).await;
                    }
                }
                Ok(false) => {}
                Err(error) if error.trouble == Trouble::Gone => return Err(error),
                // That of one file holds up no other.
                Err(error) => self.tell_once(&name, &error.to_string()),
            }
        }
        self.take(taken).await;
        self.clean(&rules, &mut **place, &found).await;
        Ok(self.patience(&rules, looked_at))
    }

    async fn list(&mut self, place: &mut dyn Endpoint) -> Result<Vec<Found>, EndpointError> {
        let mut unusable = HashSet::new();
        let mut note = |name| {
            unusable.insert(name);
        };
        let found = place.list(&mut note).await?;
        for name in unusable.difference(&self.unusable) {
            self.source.tell("name", format!("a file's name cannot cross: {name}; rename it"));
        }
        // Only those that are still there: nobody can fill the memory with names.
        self.unusable = unusable;
        Ok(found)
    }

    /// The files that have not changed for long enough, in the order of their age.
    fn settled(&mut self, rules: &Rules, found: &[Found], now: Instant) -> Vec<(FileName, Attributes)> {
        let before = std::mem::take(&mut self.seen);
        let ledger = self.source.ledger();
        let mut settled = Vec::new();
        for Found { name, attributes } in found.iter().filter(|found| is_wanted(rules, &found.name)) {
            if ledger.at(name).is_some_and(|(_, known)| {
                // One that waits to be sent finds out itself that it has changed.
                known.stage == Stage::Pending || known.attributes.is_same_content(attributes)
            }) {
                continue;
            }
            let same = before.get(name).filter(|seen| seen.attributes.is_same_content(attributes));
            let seen =
                same.copied().unwrap_or(Seen { attributes: *attributes, since: now, blocked: false, told: false });
            self.seen.insert(name.clone(), seen);
            if !seen.blocked && now.duration_since(seen.since) >= rules.files.settle {
                settled.push((name.clone(), *attributes));
            }
        }
        settled.sort_by(|one, other| (one.1.modified, &one.0).cmp(&(other.1.modified, &other.0)));
        settled
    }

    /// Tells why a file is not taken, once until it changes.
    fn tell_once(&mut self, name: &FileName, why: &str) {
        if let Some(seen) = self.seen.get_mut(name).filter(|seen| !seen.told) {
            seen.told = true;
            self.source.tell("file_waits", format!("file {name} is not taken: {why}; it is tried again"));
        }
    }

    /// Until the first file has settled, or the next look is due.
    fn patience(&self, rules: &Rules, looked_at: Instant) -> Duration {
        let due = self.seen.values().map(|seen| seen.since + rules.files.settle).filter(|due| *due > looked_at).min();
        let next = due.map(|due| due.saturating_duration_since(Instant::now()));
        next.map_or(rules.files.poll, |next| next.min(rules.files.poll))
    }

    async fn is_to_be_taken(
        &mut self,
        rules: &Rules,
        place: &mut dyn Endpoint,
        name: &FileName,
        attributes: &Attributes,
    ) -> Result<bool, EndpointError> {
        match place.writers(name).await? {
            Writers::Nobody => {}
            Writers::Somebody => return Ok(false),
            Writers::Untold(why) => {
                if !std::mem::replace(&mut self.untold, true) {
                    let files = &rules.files.name;
                    tracing::warn!(%files, "cannot know whether somebody is writing {name}: {why}; here `settle` decides alone");
                }
            }
        }
        self.passes(rules, place, name, attributes).await
    }

    async fn passes(
        &mut self,
        rules: &Rules,
        place: &mut dyn Endpoint,
        name: &FileName,
        attributes: &Attributes,
    ) -> Result<bool, EndpointError> {
        let verdict = rules.chain.check(&mut Subject::new(name, name, *attributes, place)).await;
        let why = match verdict {
            Verdict::Pass => return Ok(true),
            Verdict::Fail(why) => {
                self.tell_once(name, &format!("it cannot be checked: {why}"));
                return Ok(false);
            }
            Verdict::Block(why) => why,
        };
        let text = format!("file {name} is blocked: {why}");
        let Some(folder) = &rules.files.blue.quarantine else {
            self.source.counts.blocked.fetch_add(1, Relaxed);
            self.source.tell("file_blocked", format!("{text}; it stays where it is"));
            if let Some(seen) = self.seen.get_mut(name) {
                seen.blocked = true;
            }
            return Ok(false);
        };
        let kept = move_to(place, name, folder, new_file()).await?;
        self.source.counts.blocked.fetch_add(1, Relaxed);
        self.source.tell("file_blocked", format!("{text}; moved to {kept}"));
        Ok(false)
    }

    async fn take(&mut self, taken: Vec<Entry>) {
        let files: Vec<(Uuid, FileName)> = taken
            .iter()
            .filter_map(|entry| match entry {
                Entry::Taken { file, name, .. } => Some((*file, name.clone())),
                _ => None,
            })
            .collect();
        // Not on disk: they are found again with the next look.
        if files.is_empty() || self.source.write(taken).await.is_err() {
            return;
        }
        self.source.counts.taken.fetch_add(files.len() as u64, Relaxed);
        for (file, name) in files {
            self.seen.remove(&name);
            self.start(file);
        }
    }

    /// Does what the operator has asked for.
    async fn orders(&self) {
        let found = match orders::read(&self.source.orders).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!("cannot read {}: {error}", self.source.orders.display()),
        };
        for (Order::Resend(file), order) in found {
            if self.source.is_at_work(file) {
                // It is as good as done, or being sent: the next look knows.
                continue;
            }
            let stage = self.source.ledger().get(file).map(|known| known.stage);
            if matches!(stage, Some(Stage::Done | Stage::Failed)) {
                // The order stays until the journal has it.
                if self.source.write(vec![Entry::Again { file }]).await.is_err() {
                    continue;
                }
                self.start(file);
            } else if stage.is_none() {
                self.source.tell("resend", format!("file {file} is to be sent again, but BLUE knows it no longer"));
            }
            if let Err(error) = orders::remove(order).await {
                tracing::warn!("cannot remove an order from {}: {error}", self.source.orders.display());
            }
        }
    }

    /// Forgets old files, and deletes those that were moved and kept for long enough.
    async fn clean(&mut self, rules: &Rules, place: &mut dyn Endpoint, found: &[Found]) {
        if self.cleaned_at.elapsed() < CLEAN_PERIOD.min(rules.files.retain) {
            return;
        }
        self.cleaned_at = Instant::now();
        let there: HashSet<&FileName> = found.iter().map(|found| &found.name).collect();
        let expired = self.source.ledger().expired(SystemTime::now(), rules.files.retain, |name| there.contains(name));
        for file in &expired {
            let Some(known) = self.source.ledger().get(*file).cloned() else { continue };
            // One that cannot be deleted now is nobody's any more.
            if let Err(error) = delete_moved(place, &known).await {
                self.source.tell("file_stays", format!("{} was kept for `retain`, but {error}", known.name));
            }
        }
        self.source.forget(&expired);
    }
}

/// Deletes a file that was moved when it was sent, unless it is another by now.
async fn delete_moved(place: &mut dyn Endpoint, known: &Known) -> Result<(), EndpointError> {
    let Some(at) = known.at.as_ref().filter(|at| **at != known.name) else { return Ok(()) };
    let there = place.stat(at).await?;
    if there.is_some_and(|there| there.is_same_content(&known.attributes)) { place.delete(at).await } else { Ok(()) }
}

/// Is the name one to be looked at at all?
fn is_wanted(rules: &Rules, name: &FileName) -> bool {
    let source = &rules.files.blue;
    let moved = match &source.after {
        After::Move(folder) => Some(folder),
        After::Delete | After::Keep => None,
    };
    let own = [moved, source.quarantine.as_ref()].into_iter().flatten();
    let is_own = own.filter_map(|folder| FileName::new(folder.as_str()).ok()).any(|folder| name.is_inside(&folder));
    !is_own && (source.temporary || !is_temporary(name))
}

/// The watchers of all channels.
pub struct Watchers {
    common: Common,
    running: HashMap<u16, Running>,
    /// Of channels that were taken out of the site file: they may come back, and their journal is open.
    parked: HashMap<u16, Running>,
}

struct Running {
    source: Arc<Source>,
    in_force: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends the watcher after its current look, and senders after their current step.
    fn stop(&self) {
        self.in_force.store(false, Relaxed);
        self.stopped.store(true, Relaxed);
        self.source.bell.notify_one();
    }
}

/// What all channels have in common.
pub struct Common {
    /// To the lanes, over which files are spread.
    pub lanes: Vec<FeedSender>,
    /// To the return lane, if there is a return link.
    pub answers: Option<AnswersSender>,
    /// To the control thread.
    pub notices: crossbeam_channel::Sender<Notice>,
    /// The process's clock.
    pub clock: Clock,
}

impl Watchers {
    /// None before [`Watchers::set_site`].
    pub fn new(common: Common) -> Self {
        Self { common, running: HashMap::new(), parked: HashMap::new() }
    }

    /// Watches what `site` says, with the slots of `table`, and nothing else.
    ///
    /// # Errors
    /// A channel's state cannot be read or written; the others are watched.
    pub fn set_site(&mut self, site: &Site, table: &Table, runtime: &TcpRuntime) -> anyhow::Result<()> {
        let is_gone = |channel: &u16, _: &mut Running| !site.files.iter().any(|files| files.channel == *channel);
        for (channel, running) in self.running.extract_if(is_gone) {
            running.stop();
            self.parked.insert(channel, running);
        }
        let mut failed = None;
        for files in &site.files {
            failed = failed.or(self.watch(site, files, table, runtime).err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Watches what `files` say.
    fn watch(&mut self, site: &Site, files: &Files, table: &Table, runtime: &TcpRuntime) -> anyhow::Result<()> {
        let Some((slot, entry)) = table.by_channel(files.channel) else { return Ok(()) };
        let known = self.running.get(&files.channel).or_else(|| self.parked.get(&files.channel));
        let in_force = known.map_or_else(|| Arc::new(true.into()), |running| Arc::clone(&running.in_force));
        let link = LinkSide {
            slot,
            lanes: self.common.lanes.clone(),
            answers: self.common.answers.clone(),
            open_timeout: entry.tcp.open_timeout,
            rate: entry.rate.clone(),
            clock: self.common.clock,
            in_force: Arc::clone(&in_force),
        };
        let rules = Rules { files: files.clone(), chain: Chain::new(&files.blue)?, link };
        if let Some(running) = self.running.get(&files.channel) {
            running.source.set_rules(rules);
            return Ok(());
        }
        let (source, before) = match self.parked.remove(&files.channel) {
            Some(Running { source, task, .. }) => {
                source.set_rules(rules);
                in_force.store(true, Release);
                (source, Some(task))
            }
            None => (Arc::new(Source::open(site, rules, self.common.notices.clone())?), None),
        };
        let manifests = Manifests::after_last_run(&source);
        let watcher = Watcher {
            source: Arc::clone(&source),
            seen: HashMap::new(),
            trouble: None,
            unusable: HashSet::new(),
            untold: false,
            manifests,
            cleaned_at: Instant::now(),
        };
        let stopped = Arc::new(AtomicBool::new(false));
        let task = runtime.handle().spawn(watcher.run(Arc::clone(&stopped), before));
        self.running.insert(files.channel, Running { source, in_force, stopped, task });
        Ok(())
    }

    /// The channels at work.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.running.values().map(|running| &*running.source)
    }
}
