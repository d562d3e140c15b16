//! Every kind of place to every kind.

use std::fs::{self, File};
use std::time::Instant;

use lab::path::is_soak;
use lab::{Site, require_root};

use super::rig::{self, Tree};
use super::scene::{PATIENCE, Stage};
use super::zone::{KINDS, Kind};

/// Names that all kinds hold.
const NAMES: [&str; 6] = [
    "two words.dat",
    " leading blank",
    "it's [a]{b}$(c)`d`;e&f.dat",
    "M\u{e4}rz \u{2013} \u{5831}\u{544a}.dat",
    "-rf",
    "folder one/in ner/per%20cent #1",
];
/// Of a large file.
const LARGE_BYTES: usize = 1_000_000_000;

fn small_files() -> Tree {
    let named = NAMES.iter().zip(1..).map(|(name, seed)| (name.as_bytes().to_vec(), rig::noise(seed, 2_000)));
    let sized = [("empty", 0), ("one", 1), ("sub/large", 300_000)];
    let sized = sized.map(|(name, bytes)| (name.as_bytes().to_vec(), rig::noise(9, bytes)));
    named.chain(sized).collect()
}

/// Every kind with every kind.
fn pairs() -> Vec<(Kind, Kind)> {
    KINDS.into_iter().flat_map(|from| KINDS.map(|to| (from, to))).collect()
}

#[test]
fn every_kind_to_every_kind() {
    require_root!();
    let scene = Stage::new(&pairs()).start("");
    let files = small_files();
    scene.place(&files);
    scene.arrives(&files);
}

#[test]
fn a_large_file_from_every_kind_to_every_kind() {
    require_root!();
    if !is_soak() {
        eprintln!("SKIPPED: 1 GB for each of 25 pairs; set RELAY_SOAK");
        return;
    }
    pairs().into_iter().for_each(large);
}

fn large(pair: (Kind, Kind)) {
    let scene = Stage::new(&[pair]).start_on(&Site::new("xdp"), "");
    let files = rig::one("large.bin", &rig::noise(5, LARGE_BYTES));
    let channel = &scene.channels[0];
    let (name, target) = (channel.name.clone(), channel.target.join("large.bin"));
    channel.place(&files);
    let placed = Instant::now();
    rig::wait(&scene.path, PATIENCE, "a large file", || File::open(&target).is_ok());
    let took_s = placed.elapsed().as_secs_f64();
    let peak_mib = [&scene.path.blue, &scene.path.red].map(|relay| relay.resident_peak_kib().unwrap_or(0) >> 10);
    scene.arrives(&files);
    println!(
        "1 GB {name}: {took_s:.1} s from placed to named, {:.2} Gb/s | BLUE {} MiB, RED {} MiB",
        LARGE_BYTES as f64 * 8e-9 / took_s,
        peak_mib[0],
        peak_mib[1],
    );
    let _ = fs::remove_file(target);
}
