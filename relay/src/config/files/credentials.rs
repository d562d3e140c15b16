//! The files that a place's passwords, keys and certificates are in: whether they are there, and closed to others.

use std::path::Path;

use super::types::Place;
use crate::config::Purpose;
use crate::config::key;
use crate::config::problem::Problem;
use crate::config::section::Notes;
use crate::config::site::{Role, Site};

/// Checks the files of every place. On a host those of its own places must be there; elsewhere that is a warning.
pub(in crate::config) fn check(notes: &mut Notes, site: &Site, purpose: Purpose) {
    let mut found = Vec::new();
    for (at, files) in site.files.iter().enumerate() {
        for (role, place) in [(Role::Blue, &files.blue.place), (Role::Red, &files.red.place)] {
            let is_ours = match purpose {
                Purpose::Check => false,
                Purpose::Run(own) if own == role => true,
                // The other host's files are none of ours.
                Purpose::Run(_) => continue,
            };
            for (key, path, is_secret) in files_of(place) {
                let problem = look(notes, &format!("files.{at}.{role}.{key}"), path, is_secret);
                found.extend(problem.map(
                    |(problem, unusable)| {
                        if unusable && is_ours { problem } else { problem.warning() }
                    },
                ));
            }
        }
    }
    notes.problems.extend(found);
}

/// The key that names each file, the file, and whether it holds a secret.
fn files_of(place: &Place) -> impl Iterator<Item = (&'static str, &Path, bool)> {
    let named = [
        ("password_file", &place.password_file, true),
        ("key_file", &place.key_file, true),
        ("tls.ca_file", &place.ca_file, false),
    ];
    named.into_iter().filter_map(|(key, path, is_secret)| Some((key, path.as_deref()?, is_secret)))
}

/// What is wrong with a file, and whether it is of no use so.
fn look(notes: &Notes, key: &str, path: &Path, is_secret: bool) -> Option<(Problem, bool)> {
    let name = path.display();
    if let Err(error) = std::fs::File::open(path) {
        let remedy = "put it there, readable by the relay's user and nobody else".to_owned();
        return notes.about(key, &error.to_string(), format!("cannot read {name}"), remedy).map(|found| (found, true));
    }
    let mode = key::exposed_mode(path).ok().flatten().filter(|_| is_secret)?;
    let message = format!("{name} is open to other users");
    let remedy = "`chmod 600` it; change the secret if others had access".to_owned();
    notes.about(key, &format!("its mode is {mode:04o}"), message, remedy).map(|found| (found, false))
}
