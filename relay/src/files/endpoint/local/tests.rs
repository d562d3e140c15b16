use std::os::unix::fs::symlink;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relay-local-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    async fn place(&self) -> LocalEndpoint {
        LocalEndpoint::open_place(self.0.to_str().expect("text")).await.expect("it is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

#[tokio::test]
async fn links_lead_nowhere() {
    let (inside, outside) = (Folder::new("inside"), Folder::new("outside"));
    std::fs::write(outside.0.join("secret"), "secret").expect("written");
    symlink(&outside.0, inside.0.join("folder")).expect("linked");
    symlink(outside.0.join("secret"), inside.0.join("file")).expect("linked");
    let mut place = inside.place().await;
    assert_eq!(place.list(&mut |_| {}).await.expect("listed"), []);
    for way_out in ["folder/secret", "file"] {
        assert!(place.open(&name(way_out), 0).await.is_err(), "{way_out}");
        assert!(place.create(&name(way_out)).await.is_err(), "{way_out}");
    }
    place.create(&name("x.part")).await.expect("created");
    place.sync(&Attributes::default()).await.expect("synced");
    assert!(place.commit(&name("x.part"), &name("folder/x")).await.is_err());
    assert_eq!(std::fs::read_dir(&outside.0).expect("there").count(), 1);
}

#[tokio::test]
async fn a_file_that_is_open_for_writing_is_being_written() {
    let folder = Folder::new("lease");
    let mut place = folder.place().await;
    let writer = File::create(folder.0.join("log")).expect("created");
    assert_eq!(place.writers(&name("log")).await.expect("there"), Writers::Somebody);
    drop(writer);
    let _reader = File::open(folder.0.join("log")).expect("there");
    assert_eq!(place.writers(&name("log")).await.expect("there"), Writers::Nobody);
}

#[tokio::test]
async fn a_change_is_heard_of() {
    let folder = Folder::new("watch");
    let mut place = folder.place().await;
    // The first question starts the watch.
    place.changed(Duration::ZERO).await;
    std::fs::write(folder.0.join("new"), "new").expect("written");
    let patience = Duration::from_mins(10);
    tokio::time::timeout(Duration::from_secs(30), place.changed(patience)).await.expect("heard of");
}
