//! Finding and reading files.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use relay::files::FileName;

use super::Subject;
use super::fixture::{MODE, connected, content, fetch, listed, listed_names, name, path, put, rest};

/// Large enough to be on its way in many pieces.
const LARGE_BYTES: usize = 3_000_000;

pub async fn an_empty_place_has_no_files(subject: &Subject) {
    fs::create_dir(subject.root.join("empty folder")).expect("a folder");
    assert_eq!(listed_names(connected(&subject.place).await.as_mut()).await, []);
}

pub async fn files_are_listed_with_their_folders(subject: &Subject) {
    let files = ["a", "b.txt", "deep/d", "deep/er/still/c", "other/e"].map(name);
    for (number, file) in files.iter().enumerate() {
        put(subject, file, &content(number * 1000, number as u32));
    }
    let found = listed(connected(&subject.place).await.as_mut()).await;
    assert_eq!(found.iter().map(|found| found.name.clone()).collect::<Vec<_>>(), files);
    let sizes: Vec<_> = found.iter().map(|found| found.attributes.size_bytes).collect();
    assert_eq!(sizes, [0, 1000, 2000, 3000, 4000]);
}

pub async fn odd_names_are_listed_and_read(subject: &Subject) {
    let below = |odd: &FileName| odd.inside(odd).and_then(|file| file.inside(&name("sub"))).expect("a name");
    let files: Vec<FileName> = subject.odd.iter().flat_map(|odd| [odd.clone(), below(odd)]).collect();
    for (number, file) in files.iter().enumerate() {
        put(subject, file, &content(100 + number, number as u32));
    }
    let mut endpoint = connected(&subject.place).await;
    let mut sorted = files.clone();
    sorted.sort();
    assert_eq!(listed_names(endpoint.as_mut()).await, sorted);
    for (number, file) in files.iter().enumerate() {
        let read = fetch(endpoint.as_mut(), file, 0).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, content(100 + number, number as u32), "{file}");
    }
}

pub async fn links_and_devices_are_not_listed(subject: &Subject) {
    put(subject, &name("folder/file"), b"x");
    symlink("folder/file", subject.root.join("link to file")).expect("a link");
    symlink("folder", subject.root.join("link to folder")).expect("a link");
    symlink("..", subject.root.join("folder/loop")).expect("a link");
    symlink("nowhere", subject.root.join("dangling")).expect("a link");
    let _socket = UnixListener::bind(subject.root.join("socket")).expect("a socket");
    assert_eq!(listed_names(connected(&subject.place).await.as_mut()).await, [name("folder/file")]);
}

pub async fn stat_tells_what_list_tells(subject: &Subject) {
    let file = name("folder/some file");
    put(subject, &file, &content(12_345, 1));
    let written = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_001, 987_654_300);
    fs::File::options().write(true).open(path(subject, &file)).expect("open").set_modified(written).expect("mtime");
    let mut endpoint = connected(&subject.place).await;
    let stat = endpoint.stat(&file).await.expect("stat").expect("is there");
    let found = listed(endpoint.as_mut()).await;
    assert_eq!((found[0].attributes, found.len()), (stat, 1));
    assert_eq!(stat.size_bytes, 12_345);
    if let Some(fineness) = subject.keeps_modified {
        let told = stat.modified.expect("it keeps times");
        assert!(told <= written && written.duration_since(told).expect("not later") < fineness, "{told:?}");
    }
    if subject.keeps_mode {
        assert_eq!(stat.mode, Some(MODE));
    }
}

pub async fn stat_of_nothing_is_none(subject: &Subject) {
    put(subject, &name("folder/file"), b"x");
    let mut endpoint = connected(&subject.place).await;
    for nothing in ["nothing", "folder/nothing", "nowhere/nothing", "folder", "folder/file/below"] {
        assert_eq!(endpoint.stat(&name(nothing)).await.expect("an answer"), None, "{nothing}");
    }
}

pub async fn files_are_read_whole(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    for (number, len) in [0, 1, 1460, 65_536, LARGE_BYTES].into_iter().enumerate() {
        let file = name(format!("file{number}"));
        // Line ends and what Telnet has a meaning for, which no transfer may touch.
        let mut content = content(len, number as u32);
        content.splice(.., b"\r\n\n\r\0\xFF\xFF\xF4".iter().copied().chain(content.clone()).take(len));
        put(subject, &file, &content);
        let read = fetch(endpoint.as_mut(), &file, 0).await.unwrap_or_else(|error| panic!("{error}"));
        // Not assert_eq, which would print both.
        assert!(read == content, "{} of {len} bytes, or others", read.len());
    }
}

pub async fn files_are_read_from_an_offset(subject: &Subject) {
    let content = content(LARGE_BYTES, 1);
    put(subject, &name("file"), &content);
    let mut endpoint = connected(&subject.place).await;
    for offset in [1, 4096, 1_234_567, LARGE_BYTES - 1, LARGE_BYTES] {
        let read = fetch(endpoint.as_mut(), &name("file"), offset as u64).await;
        let read = read.unwrap_or_else(|error| panic!("{error}"));
        assert!(read == content[offset..], "{} bytes from {offset}, or others", read.len());
    }
}

pub async fn an_abandoned_read_leaves_the_connection_usable(subject: &Subject) {
    let (large, small) = (content(LARGE_BYTES, 1), content(700, 2));
    put(subject, &name("large"), &large);
    put(subject, &name("small"), &small);
    let mut endpoint = connected(&subject.place).await;
    for _ in 0..3 {
        endpoint.open(&name("large"), 0).await.expect("open");
        assert!(!endpoint.read(100).await.expect("read").is_empty());
        assert!(fetch(endpoint.as_mut(), &name("small"), 0).await.expect("another") == small);
        endpoint.open(&name("large"), 0).await.expect("open");
        assert_eq!(endpoint.stat(&name("small")).await.expect("stat").map(|known| known.size_bytes), Some(700));
        endpoint.open(&name("small"), 0).await.expect("open");
        assert_eq!(listed_names(endpoint.as_mut()).await, [name("large"), name("small")]);
    }
    endpoint.open(&name("large"), 0).await.expect("open");
    assert!(rest(endpoint.as_mut()).await.expect("read") == large);
}
