//! temporary
use super::*;
use crate::config::section::{Notes, Section};
use crate::config::site::Fec;
use crate::config::values::*;
use std::time::Duration;
use toml::de::DeValue;
pub(in crate::config) fn all(notes: &mut Notes, root: &mut Section<'_, '_>, fec: &Fec) -> Vec<Files> {
    let Some(value) = root.raw("files") else { return Vec::new() };
    let DeValue::Array(tables) = value.get_ref() else { return Vec::new() };
    tables
        .iter()
        .enumerate()
        .filter_map(|(at, value)| {
            let DeValue::Table(table) = value.get_ref() else { return None };
            let mut section = Section::new(&format!("files.{at}"), "files", value.span(), table);
            let s = &mut section;
            let d = |s: &mut Section<'_, '_>, notes: &mut Notes, key, default: Duration| {
                s.get(notes, key, duration(Duration::from_millis(10), Duration::from_hours(1000))).unwrap_or(default)
            };
            let channel = s.need(notes, "channel", "1", 0, whole(1..=65535));
            let name = s.need(notes, "name", "\"a\"", String::new(), stream_name);
            let poll = d(s, notes, "poll", Duration::from_secs(2));
            let settle = d(s, notes, "settle", Duration::from_secs(2));
            let manifest = d(s, notes, "manifest", Duration::from_secs(60));
            let retain = d(s, notes, "retain", Duration::from_hours(24));
            let parallel = s.get(notes, "parallel", whole(1..=64)).unwrap_or(4);
            let attempts = s.get(notes, "attempts", whole(1..=200)).unwrap_or(10);
            let repeat = s.get(notes, "repeat", whole(0..=100)).unwrap_or(0);
            let mut blue = s.table(notes, "blue")?;
            let place = place(notes, &mut blue);
            let after = match blue.get(notes, "after", line).as_deref() {
                Some("keep") => After::Keep,
                Some(x) if x.starts_with("move:") => After::Move(x[5..].to_owned()),
                _ => After::Delete,
            };
            let quarantine = blue.get(notes, "quarantine", line);
            let mut red = s.table(notes, "red")?;
            let target = self::place(notes, &mut red);
            Some(Files {
                channel,
                name,
                description: String::new(),
                enabled: true,
                poll,
                settle,
                parallel,
                attempts,
                repeat,
                manifest,
                retain,
                rate_bps: None,
                fec: fec.clone(),
                buffer_bytes: 16 << 20,
                blue: FilesSource {
                    place,
                    include: vec![],
                    exclude: vec![],
                    temporary: false,
                    max_bytes: 1 << 40,
                    magic: false,
                    quarantine,
                    after,
                },
                red: FilesTarget { place: target },
            })
        })
        .collect()
}
fn place(notes: &mut Notes, s: &mut Section<'_, '_>) -> Place {
    let kinds: &[(&str, PlaceKind)] = &[("dir", PlaceKind::Dir)];
    let kind = s.need(notes, "kind", "\"dir\"", PlaceKind::Dir, one_of(Box::leak(kinds.to_vec().into_boxed_slice())));
    let path = s.need(notes, "path", "\"/x\"", String::new(), line);
    Place { kind, ..Place::folder(&path) }
}
