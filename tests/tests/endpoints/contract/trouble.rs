//! What goes wrong, and what is said then.

use bytes::Bytes;
use relay::config::Place;
use relay::files::endpoint::connect;
use relay::files::{Endpoint, EndpointError, Trouble};

use super::Subject;
use super::fixture::{connected, content, fetch, held, listed_names, name, put, store, trouble, write};

/// More than a small place has room for.
const TOO_LARGE_BYTES: usize = 8_000_000;

/// Connects and lists: where a place tells of its troubles is its own matter.
async fn look(place: &Place) -> Result<(), EndpointError> {
    connect(place).await?.list(&mut |_| {}).await.map(drop)
}

pub async fn a_missing_file_is_missing(subject: &Subject) {
    put(subject, &name("there"), b"content");
    let mut endpoint = connected(&subject.place).await;
    for missing in ["nothing", "nowhere/nothing"].map(name) {
        trouble(fetch(endpoint.as_mut(), &missing, 0).await, Trouble::Missing);
        trouble(fetch(endpoint.as_mut(), &missing, 10).await, Trouble::Missing);
        trouble(endpoint.commit(&missing, &name("elsewhere")).await, Trouble::Missing);
    }
    assert_eq!(fetch(endpoint.as_mut(), &name("there"), 0).await.expect("still usable"), b"content");
}

pub async fn a_missing_folder_is_missing(subject: &Subject) {
    let Some(place) = &subject.no_folder else { return };
    let text = trouble(look(place).await, Trouble::Missing);
    assert!(text.contains(&place.path), "{text}");
}

pub async fn impossible_names_are_refused(subject: &Subject) {
    let mut endpoint = connected(&subject.place).await;
    for impossible in &subject.impossible {
        for result in [
            endpoint.create(impossible).await,
            endpoint.open(impossible, 0).await,
            endpoint.delete(impossible).await,
            endpoint.stat(impossible).await.map(drop),
        ] {
            let text = trouble(result, Trouble::Name);
            assert!(text.contains(&impossible.to_string()), "{text}");
        }
        write(endpoint.as_mut(), &name("there"), b"x").await.expect("still usable");
        trouble(endpoint.commit(&name("there"), impossible).await, Trouble::Name);
        assert_eq!(listed_names(endpoint.as_mut()).await, [name("there")], "{impossible}");
    }
}

pub async fn a_wrong_password_does_not_let_in(subject: &Subject) {
    let Some(place) = &subject.wrong_password else { return };
    let text = trouble(look(place).await, Trouble::Login);
    let file = place.password_file.as_ref().expect("has a password");
    let password = std::fs::read_to_string(file).expect("a password");
    assert!(!text.contains(password.trim()) && text.contains(&place.user), "{text}");
}

pub async fn nobody_there_is_gone(subject: &Subject) {
    let Some(place) = &subject.nobody_there else { return };
    let text = trouble(look(place).await, Trouble::Gone);
    assert!(text.contains(&place.server) && text.contains(&place.port.to_string()), "{text}");
}

pub async fn read_only_is_denied(subject: &Subject) {
    let Some(place) = &subject.read_only else { return };
    let mut endpoint = connected(place).await;
    let locked = name("locked.txt");
    assert!(endpoint.stat(&locked).await.expect("can be read").is_some());
    trouble(write(endpoint.as_mut(), &name("new"), b"x").await, Trouble::Denied);
    trouble(write(endpoint.as_mut(), &name("new/folder/file"), b"x").await, Trouble::Denied);
    trouble(endpoint.delete(&locked).await, Trouble::Denied);
    trouble(endpoint.commit(&locked, &name("renamed")).await, Trouble::Denied);
    assert_eq!(listed_names(endpoint.as_mut()).await, [locked]);
}

pub async fn a_full_place_says_so(subject: &Subject) {
    let Some(place) = &subject.small else { return };
    let mut endpoint = connected(place).await;
    trouble(write(endpoint.as_mut(), &name("large"), &content(TOO_LARGE_BYTES, 1)).await, Trouble::Full);
    endpoint.delete(&name("large")).await.unwrap_or_else(|error| panic!("{error}"));
    store(endpoint.as_mut(), &name("small"), b"small").await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fetch(endpoint.as_mut(), &name("small"), 0).await.expect("read"), b"small");
}

pub async fn a_dead_server_is_gone(subject: &Subject) {
    let Some(kill) = &subject.kill else { return };
    put(subject, &name("file"), &content(TOO_LARGE_BYTES, 1));
    let (mut reader, mut writer) = (connected(&subject.place).await, connected(&subject.place).await);
    reader.open(&name("file"), 0).await.expect("open");
    writer.create(&name("half.part")).await.expect("create");
    writer.append(Bytes::from_static(b"half")).await.expect("append");
    kill();
    trouble(drained(reader.as_mut()).await, Trouble::Gone);
    let ended = async {
        writer.append(Bytes::from_static(b"of it")).await?;
        writer.sync(&relay::files::Attributes { size_bytes: 9, ..Default::default() }).await
    };
    trouble(ended.await, Trouble::Gone);
    trouble(writer.commit(&name("half.part"), &name("half")).await, Trouble::Gone);
    trouble(look(&subject.place).await, Trouble::Gone);
    assert_eq!(held(subject, &name("half")), None);
}

/// Reads to the end, if it comes.
async fn drained(endpoint: &mut dyn Endpoint) -> Result<(), EndpointError> {
    while !endpoint.read(1 << 16).await?.is_empty() {}
    Ok(())
}
