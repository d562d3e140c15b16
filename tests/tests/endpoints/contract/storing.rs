//! Writing, committing and deleting files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use relay::files::{Attributes, PART_BYTES_MAX, Trouble};

use super::Subject;
use super::fixture::{connected, content, fetch, held, listed_names, name, path, put, store, trouble, write};

/// Large enough to be on its way in many pieces.
const LARGE_BYTES: usize = 3_000_000;

pub async fn files_are_stored_whole(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    for (number, len) in [0, 1, 1460, 65_536, LARGE_BYTES].into_iter().enumerate() {
        let file = name(format!("file{number}"));
        let content = content(len, number as u32);
        store(endpoint.as_mut(), &file, &content).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(held(subject, &file).as_ref() == Some(&content), "{len} bytes are not what is there");
    }
    assert_eq!(listed_names(endpoint.as_mut()).await.len(), 5, "temporary files are gone");
}

pub async fn odd_names_are_stored(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    for (number, odd) in subject.odd.iter().enumerate() {
        let content = content(100 + number, number as u32);
        store(endpoint.as_mut(), odd, &content).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held(subject, odd), Some(content), "{odd}");
        let below = odd.inside(&name("folder")).expect("a name").inside(&name("sub")).expect("a name");
        store(endpoint.as_mut(), &below, b"below").await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held(subject, &below).as_deref(), Some(&b"below"[..]), "{below}");
        endpoint.delete(odd).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held(subject, odd), None, "{odd}");
    }
}

pub async fn long_names_are_stored(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    let long = name("n".repeat(PART_BYTES_MAX));
    store(endpoint.as_mut(), &long, b"long").await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fetch(endpoint.as_mut(), &long, 0).await.expect("read"), b"long");
    assert_eq!(listed_names(endpoint.as_mut()).await, [long]);
}

pub async fn missing_folders_are_made(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    for file in ["new folder/a", "new folder/b", "new folder/er/c", "one/two/three/d"] {
        write(endpoint.as_mut(), &name(file), file.as_bytes()).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held(subject, &name(file)).as_deref(), Some(file.as_bytes()));
    }
}

pub async fn create_empties_what_was_there(subject: &Subject) {
    put(subject, &name("file"), &content(10_000, 1));
    let mut endpoint = connected(&subject.place).await;
    write(endpoint.as_mut(), &name("file"), b"short").await.expect("write");
    assert_eq!(held(subject, &name("file")).as_deref(), Some(&b"short"[..]));
}

pub async fn an_abandoned_write_leaves_the_connection_usable(subject: &Subject) {
    put(subject, &name("there"), b"content");
    let mut endpoint = connected(&subject.place).await;
    for round in 0..3 {
        endpoint.create(&name("half")).await.expect("create");
        endpoint.append(Bytes::from(content(200_000, 1))).await.expect("append");
        assert_eq!(fetch(endpoint.as_mut(), &name("there"), 0).await.expect("read"), b"content");
        endpoint.create(&name("half")).await.expect("create");
        endpoint.append(Bytes::from_static(b"half")).await.expect("append");
        let whole = name(format!("whole{round}"));
        store(endpoint.as_mut(), &whole, &content(5000, round)).await.expect("store");
        assert_eq!(held(subject, &whole), Some(content(5000, round)));
        endpoint.delete(&name("half")).await.expect("delete");
        assert_eq!(endpoint.stat(&name("half")).await.expect("stat"), None);
    }
}

pub async fn commit_never_replaces(subject: &Subject) {
    put(subject, &name("folder/taken"), b"old");
    let mut endpoint = connected(&subject.place).await;
    write(endpoint.as_mut(), &name("folder/new.part"), b"new").await.expect("write");
    for taken in ["folder/taken", "folder"] {
        trouble(endpoint.commit(&name("folder/new.part"), &name(taken)).await, Trouble::Exists);
    }
    assert_eq!(held(subject, &name("folder/taken")).as_deref(), Some(&b"old"[..]));
    assert_eq!(held(subject, &name("folder/new.part")).as_deref(), Some(&b"new"[..]));
    endpoint.commit(&name("folder/new.part"), &name("folder/free")).await.expect("another name is free");
    assert_eq!(held(subject, &name("folder/free")).as_deref(), Some(&b"new"[..]));
}

pub async fn commit_moves_into_folders(subject: &Subject) {
    put(subject, &name("from/file"), b"content");
    let mut endpoint = connected(&subject.place).await;
    for (from, to) in [("from/file", "sent/2026/11/file"), ("sent/2026/11/file", "sent/file"), ("sent/file", "file")] {
        endpoint.commit(&name(from), &name(to)).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held(subject, &name(to)).as_deref(), Some(&b"content"[..]));
        assert_eq!(held(subject, &name(from)), None);
    }
}

pub async fn delete_is_done_once_and_no_error_twice(subject: &Subject) {
    put(subject, &name("folder/file"), b"x");
    put(subject, &name("folder/other"), b"y");
    let mut endpoint = connected(&subject.place).await;
    for gone in ["folder/file", "folder/file", "never", "nowhere/never"] {
        endpoint.delete(&name(gone)).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held(subject, &name(gone)), None);
    }
    assert_eq!(listed_names(endpoint.as_mut()).await, [name("folder/other")]);
}

pub async fn modified_and_mode_are_kept(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    let (temporary, file) = (name("file.part"), name("file"));
    let written = SystemTime::UNIX_EPOCH + Duration::new(1_582_934_400, 123_456_700);
    endpoint.create(&temporary).await.expect("create");
    endpoint.append(Bytes::from_static(b"content")).await.expect("append");
    let attributes = Attributes { size_bytes: 7, modified: Some(written), mode: Some(0o604) };
    endpoint.sync(&attributes).await.unwrap_or_else(|error| panic!("{error}"));
    endpoint.commit(&temporary, &file).await.expect("commit");
    let metadata = fs::metadata(path(subject, &file)).expect("is there");
    if let Some(fineness) = subject.keeps_modified {
        let kept = metadata.modified().expect("mtime");
        assert!(kept <= written && written.duration_since(kept).expect("not later") < fineness, "{kept:?}");
    }
    if subject.keeps_mode {
        assert_eq!(metadata.mode() & 0o777, 0o604);
    }
}

pub async fn two_connections_work_side_by_side(subject: &Subject) {
    let content = [content(LARGE_BYTES, 1), content(LARGE_BYTES, 2)];
    put(subject, &name("read"), &content[0]);
    let (mut reader, mut writer) = (connected(&subject.place).await, connected(&subject.place).await);
    let (read, ()) = tokio::join!(async { fetch(reader.as_mut(), &name("read"), 0).await.expect("read") }, async {
        store(writer.as_mut(), &name("written"), &content[1]).await.expect("store");
    });
    assert!(read == content[0] && held(subject, &name("written")).as_ref() == Some(&content[1]));
}
