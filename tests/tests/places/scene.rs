//! Both zones with their servers, and relays with one channel for each pair of places.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5, key_file};
use lab::{Lab, Loss, Options, RelayProcess, Role, Site, Stopped, TempDir, address};

use super::rig::{self, Tree};
use super::zone::{self, Kind, Zone};

/// Much more than all of it takes on a busy machine, with pauses between attempts.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// One `[[files]]` table.
#[derive(Clone)]
pub struct Channel {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// BLUE's kind of place.
    pub from: Kind,
    /// RED's kind of place.
    pub to: Kind,
    /// Where files are placed.
    pub source: PathBuf,
    /// Where they appear.
    pub target: PathBuf,
}

impl Channel {
    fn new(number: u16, (from, to): (Kind, Kind), blue: &Zone, red: &Zone) -> Self {
        let name = format!("{}-{}", from.name(), to.name());
        let folder = |zone: &Zone, kind| zone.root(kind).join(&name);
        Self { number, from, to, source: folder(blue, from), target: folder(red, to), name }
    }

    fn table(&self, lines: &str, blue: &Zone, red: &Zone) -> String {
        format!(
            "[[files]]\nchannel = {}\nname = \"{}\"\npoll = \"200ms\"\nsettle = \"100ms\"\n{lines}\n\
             [files.blue]\n{}[files.red]\n{}",
            self.number,
            self.name,
            blue.lines(self.from, &self.name),
            red.lines(self.to, &self.name),
        )
    }

    /// Places files.
    pub fn place(&self, files: &Tree) {
        zone::place(&self.source, files);
    }
}

/// Zones with places, and no relay yet.
pub struct Stage {
    lab: Lab,
    /// The zone of the client.
    pub blue: Zone,
    /// The zone of the server.
    pub red: Zone,
    /// One for each pair, with its folders, which are empty.
    pub channels: Vec<Channel>,
    site_folder: TempDir,
    zones_folder: TempDir,
}

impl Stage {
    /// For a channel from each first to each second kind.
    pub fn new(pairs: &[(Kind, Kind)]) -> Self {
        Self::with_room(pairs, None)
    }

    /// The same; with `room_kib` RED's places have disks of that size.
    pub fn with_room(pairs: &[(Kind, Kind)], room_kib: Option<u32>) -> Self {
        let options = Options { return_loss: Some(Loss::None), ..Options::default() };
        let lab = Lab::new(&options).expect("a laboratory");
        let (site_folder, zones_folder) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        let at = |side: &str| zones_folder.path().join(side);
        let (from, to): (Vec<Kind>, Vec<Kind>) = pairs.iter().copied().unzip();
        let blue = Zone::start(&lab.client, address::CLIENT, &at("blue"), &each(from), None);
        let red = Zone::start(&lab.server, address::SERVER, &at("red"), &each(to), room_kib);
        let channels: Vec<Channel> =
            (1..).zip(pairs).map(|(number, pair)| Channel::new(number, *pair, &blue, &red)).collect();
        for channel in &channels {
            zone::make_folder(&channel.source);
            zone::make_folder(&channel.target);
        }
        Self { lab, blue, red, channels, site_folder, zones_folder }
    }

    /// Starts both relays, with further lines for each table.
    pub fn start(self, lines: &str) -> Scene {
        self.start_on(&rig::site(), lines)
    }

    /// The same on another link.
    pub fn start_on(self, site: &Site, lines: &str) -> Scene {
        let tables = self.tables(lines);
        self.start_with(site, &tables)
    }

    /// The tables of all channels, with further lines for each.
    pub fn tables(&self, lines: &str) -> String {
        self.channels.iter().map(|channel| channel.table(lines, &self.blue, &self.red)).collect()
    }

    /// The same with these tables.
    pub fn start_with(self, site: &Site, tables: &str) -> Scene {
        let folder = self.site_folder.path();
        let site = site.clone().return_link("status").tables(tables).key_file(&key_file(folder, "link.key"));
        let site_file = site.write(folder).expect("a site file");
        let path = Ground::of(self.lab, self.site_folder, site_file).start();
        Scene { path, blue: self.blue, red: self.red, channels: self.channels, _folder: self.zones_folder }
    }
}

/// Each of them once.
fn each(mut kinds: Vec<Kind>) -> Vec<Kind> {
    kinds.sort_by_key(|kind| kind.name());
    kinds.dedup();
    kinds
}

/// Zones with places, and relays at work.
pub struct Scene {
    /// The relays.
    pub path: Path5,
    /// The zone of the client.
    pub blue: Zone,
    /// The zone of the server.
    pub red: Zone,
    /// One for each pair.
    pub channels: Vec<Channel>,
    _folder: TempDir,
}

impl Scene {
    /// Places the same files at the beginning of each channel.
    pub fn place(&self, files: &Tree) {
        self.channels.iter().for_each(|channel| channel.place(files));
    }

    /// Waits until a relay has said a line about a channel with all of these words.
    pub fn told_of(&self, relay: &RelayProcess, channel: &Channel, words: &[String]) {
        let mark = format!(" files={}", channel.name);
        let is_it = |line: &str| line.ends_with(&mark) && words.iter().all(|word| line.contains(word));
        let found = relay.wait_for_line(0, PATIENCE, is_it);
        found.unwrap_or_else(|error| panic!("{}: {words:?}: {error:#}\n{}", channel.name, rig::logs(&self.path)));
    }

    /// Kills one relay and starts it again.
    pub fn kill(self, role: Role) -> Self {
        Self { path: rig::kill(self.path, role), ..self }
    }

    /// Kills both relays and starts them again by another program.
    pub fn restart_as(self, program: &Path) -> Self {
        let Path5 { ground, blue, red } = self.path;
        blue.kill();
        red.kill();
        let start = |role, host| RelayProcess::start(program, role, host, &ground.site_file).expect("a relay");
        let red = start(Role::Red, &ground.lab.red);
        let blue = start(Role::Blue, &ground.lab.blue);
        Self { path: Path5 { ground, blue, red }, ..self }
    }

    /// Waits for what lasts for moments only.
    pub fn catch(&self, channel: &Channel, mut look: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look() {
            assert!(Instant::now() < deadline, "{}: never seen\n{}", channel.name, rig::logs(&self.path));
            std::thread::yield_now();
        }
    }

    /// Waits until everything is at the end of each channel, and no original is left; then ends it all. What arrived is as it was
    /// sent, once, and no temporary is left. Gives both logs.
    pub fn arrives(self, files: &Tree) -> String {
        let channels = self.channels.clone();
        let (red, logs) = self.arrives_uncounted(files);
        for channel in channels {
            assert_eq!(stored(&red, &channel.name), Some(files.len() as u64), "{}\n{logs}", channel.name);
        }
        logs
    }

    /// The same where a RED that was killed has taken its count with it. Gives RED's last words and both logs.
    pub fn arrives_uncounted(self, files: &Tree) -> (Stopped, String) {
        let deadline = Instant::now() + PATIENCE;
        for channel in &self.channels {
            let what = format!("all files of {}", channel.name);
            rig::wait(&self.path, deadline.saturating_duration_since(Instant::now()), &what, || {
                rig::count(&channel.target) == files.len() && rig::count(&channel.source) == 0
            });
        }
        let logs = rig::logs(&self.path);
        let (_, red, _) = self.path.end();
        for channel in &self.channels {
            let found = rig::tree(&channel.target);
            assert!(&found == files, "{}: contents differ: {:?}\n{logs}", channel.name, rig::shown(&found));
            assert_eq!(rig::temporaries(&channel.target), Vec::<PathBuf>::new(), "{}\n{logs}", channel.name);
        }
        (red, logs)
    }
}

/// How many files of a channel RED has stored, by its own account.
fn stored(red: &Stopped, name: &str) -> Option<u64> {
    let line = red.summary.lines.iter().rev().find(|line| line.get("files") == Some(name))?;
    line.number("stored").ok()
}
