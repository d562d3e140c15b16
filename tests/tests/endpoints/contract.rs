//! What holds for every kind of place: one function for each behaviour, over whatever [`Subject`] it is given.
//!
//! `contract!(start)` makes a test of each, on a [`Stage`](crate::stage::Stage) that `start()` gives.

#[path = "contract/fixture.rs"]
mod fixture;
#[path = "contract/reading.rs"]
mod reading;
#[path = "contract/storing.rs"]
mod storing;
#[path = "contract/trouble.rs"]
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

use relay::config::Place;
use relay::files::FileName;

pub use reading::*;
pub use storing::*;
pub use trouble::*;

/// A place to be tested: empty, and the test's alone. What is `None` or empty the kind does not have, and is not tested.
pub struct Subject {
    /// How to connect to it.
    pub place: Place,
    /// Its folder, as this process sees it.
    pub root: PathBuf,
    /// Whom the server is to its files: user and group of what a test puts there.
    pub owner: Option<(u32, u32)>,
    /// It keeps the times that files were written at, to this fineness.
    pub keeps_modified: Option<Duration>,
    /// It keeps permission bits.
    pub keeps_mode: bool,
    /// Names that it can hold, besides plain ones.
    pub odd: Vec<FileName>,
    /// Names that it cannot hold.
    pub impossible: Vec<FileName>,
    /// The same place with a wrong password.
    pub wrong_password: Option<Place>,
    /// The same place on a port where nothing listens.
    pub nobody_there: Option<Place>,
    /// A folder of it that is not there.
    pub no_folder: Option<Place>,
    /// A place that can be read only, with a file `locked.txt` in it.
    pub read_only: Option<Place>,
    /// A place with room for less than 2 MB.
    pub small: Option<Place>,
    /// Ends the server at once.
    pub kill: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Subject {
    /// A place that can do nothing but what every place can.
    pub fn plain(place: Place, root: PathBuf) -> Self {
        Self {
            place,
            root,
            owner: None,
            keeps_modified: None,
            keeps_mode: false,
            odd: Vec::new(),
            impossible: Vec::new(),
            wrong_password: None,
            nobody_there: None,
            no_folder: None,
            read_only: None,
            small: None,
            kill: None,
        }
    }
}

/// Names that Linux and most servers can hold.
pub const ODD_NAMES: [&[u8]; 9] = [
    b"two words.txt",
    b" leading blank",
    b"it's \"quoted\".csv",
    "M\u{e4}rz \u{2013} \u{5831}\u{544a}.pdf".as_bytes(),
    b"-rf",
    b"[a]*?{b}$(c)`d`;e&f|g",
    b"back\\slash",
    b"per%20cent #1",
    b"2026 Nov 20 12:00 x",
];

/// Makes a test of each behaviour, on a stage of its own.
macro_rules! contract {
    ($start:expr) => {
        contract! { $start =>
            an_empty_place_has_no_files,
            files_are_listed_with_their_folders,
            odd_names_are_listed_and_read,
            links_and_devices_are_not_listed,
            stat_tells_what_list_tells,
            stat_of_nothing_is_none,
            files_are_read_whole,
            files_are_read_from_an_offset,
            an_abandoned_read_leaves_the_connection_usable,
            files_are_stored_whole,
            odd_names_are_stored,
            long_names_are_stored,
            missing_folders_are_made,
            create_empties_what_was_there,
            an_abandoned_write_leaves_the_connection_usable,
            commit_never_replaces,
            commit_moves_into_folders,
            delete_is_done_once_and_no_error_twice,
            modified_and_mode_are_kept,
            two_connections_work_side_by_side,
            a_missing_file_is_missing,
            a_missing_folder_is_missing,
            impossible_names_are_refused,
            a_wrong_password_does_not_let_in,
            nobody_there_is_gone,
            read_only_is_denied,
            a_full_place_says_so,
            a_dead_server_is_gone,
        }
    };
    ($start:expr => $($behaviour:ident),* $(,)?) => {
        $(
            #[test]
            fn $behaviour() {
                lab::require_root!();
                $start().run(crate::contract::$behaviour);
            }
        )*
    };
}
