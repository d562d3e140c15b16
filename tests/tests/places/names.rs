//! Names that the one side has and the other cannot hold.

use lab::require_root;

use super::rig::{self, Tree};
use super::scene::{PATIENCE, Stage};
use super::zone::Kind;

/// No share holds these.
const IMPOSSIBLE: [&[u8]; 7] =
    [b"a:b.dat", b"why?.dat", b"back\\slash", b"trailing dot.", b"trailing blank ", b"not\xFFtext", b"a|b/inner.dat"];

#[test]
fn names_that_no_share_holds_are_told_and_hold_up_no_other() {
    require_root!();
    // One refusal each: that of names is for good.
    let scene = Stage::new(&[(Kind::Dir, Kind::Smb)]).start("attempts = 1");
    let impossible: Tree = IMPOSSIBLE.iter().map(|name| (name.to_vec(), name.to_vec())).collect();
    let fine = rig::files(1, 6, 20_000);
    scene.place(&impossible);
    let channel = &scene.channels[0];
    for name in IMPOSSIBLE {
        let shown = relay::files::FileName::new(name).expect("a name").to_string();
        let words = |what: &str| [format!(" {shown} "), what.to_owned()];
        scene.told_of(&scene.path.red, channel, &words("waits to be stored"));
        scene.told_of(&scene.path.blue, channel, &words("is given up"));
    }
    scene.place(&fine);
    rig::wait(&scene.path, PATIENCE, "the others", || {
        rig::tree(&channel.target) == fine && rig::tree(&channel.source) == impossible
    });
    // Each try makes one, and deletes it.
    rig::wait(&scene.path, PATIENCE, "no temporary", || rig::temporaries(&channel.target).is_empty());
    scene.path.end();
}
