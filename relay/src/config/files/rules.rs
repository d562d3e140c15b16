//! What is right in itself in a `[[files]]` table and wrong together, or useless.

use super::types::{Files, Place, PlaceKind};
use crate::config::problem::Problem;
use crate::config::section::Notes;
use crate::config::site::Site;
use crate::config::values::show_duration;

/// Checks the files of `site`.
pub(in crate::config) fn check(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    for (at, files) in site.files.iter().enumerate() {
        let name = format!("files.{at}");
        found.extend(forgotten_too_early(notes, &name, files));
        found.extend(without_effect(notes, &name, site.link.return_link.is_some()));
        for (end, place) in [("blue", &files.blue.place), ("red", &files.red.place)] {
            found.extend(unverified(notes, &format!("{name}.{end}"), place));
        }
    }
    found.extend(taken_twice(notes, site));
}

/// What BLUE forgets before its next manifest is never told to RED.
fn forgotten_too_early(notes: &Notes, name: &str, files: &Files) -> Option<Problem> {
    if files.retain >= files.manifest {
        return None;
    }
    let (retain, manifest) = (show_duration(files.retain), show_duration(files.manifest));
    let message = "`retain` is shorter than `manifest`: BLUE would forget files before it tells RED of them".to_owned();
    let about = |key: &str, cause: &str| {
        let remedy = "set `retain` to several times `manifest`".to_owned();
        notes.about(&format!("{name}.{key}"), cause, message.clone(), remedy)
    };
    about("retain", &format!("manifest is {manifest}")).or_else(|| about("manifest", &format!("retain is {retain}")))
}

/// How often a file is sent depends on whether RED can answer.
fn without_effect(notes: &Notes, name: &str, answers: bool) -> Option<Problem> {
    let (key, other, cause) = if answers {
        ("repeat", "attempts", "there is a return link: BLUE sends again what RED has not")
    } else {
        ("attempts", "repeat", "without a return link BLUE never hears of a failure")
    };
    let message = format!("`{key}` has no effect here");
    let remedy = format!("remove it; `{other}` is what counts");
    notes.about(&format!("{name}.{key}"), cause, message, remedy).map(Problem::warning)
}

/// Passwords and files are given to whoever pretends to be the server: never silently.
fn unverified(notes: &Notes, name: &str, place: &Place) -> Option<Problem> {
    if place.verify || place.kind != PlaceKind::Ftps {
        return None;
    }
    let message =
        format!("the certificate of {} is not verified: whoever is in between can pretend to be it", place.server);
    let remedy = "set `ca_file` to the certificate that signed the server's, and verify = true".to_owned();
    notes.about(&format!("{name}.tls.verify"), "verify is false", message, remedy).map(Problem::warning)
}

/// Two tables that read one place take each other's files away.
fn taken_twice(notes: &Notes, site: &Site) -> Vec<Problem> {
    let same = |a: &Place, b: &Place| {
        (a.kind, &a.server, a.port, &a.share, a.path.trim_matches('/'))
            == (b.kind, &b.server, b.port, &b.share, b.path.trim_matches('/'))
    };
    let mut found = Vec::new();
    for (at, later) in site.files.iter().enumerate() {
        let before = &site.files[..at];
        let Some(earlier) = before.iter().position(|earlier| same(&earlier.blue.place, &later.blue.place)) else {
            continue;
        };
        let cause = format!("read by files `{}` too", site.files[earlier].name);
        let message = format!(
            "files `{}` read a place that others read as well: each file is taken by either or both",
            later.name
        );
        let remedy = "give each a folder of its own; `include` only blocks what others are to take".to_owned();
        let about = |key: &str| notes.about(&format!("files.{at}.blue{key}"), &cause, message.clone(), remedy.clone());
        found.extend(about(".path").or_else(|| about("")).map(Problem::warning));
    }
    found
}
