//! What a test needs of the machine, and how it says that it is missing.

use std::io::Write;

use crate::{Host, sys};

/// Whether hosts can be made here; the reason when not.
pub fn privilege() -> Result<(), String> {
    if !sys::is_root() {
        return Err("needs root, for network namespaces and XDP".to_owned());
    }
    Host::new("probe").map(drop).map_err(|error| format!("{error:#}"))
}

/// Whether a test that needs root may run. If not, it says so on the terminal, past the test harness's capture; with
/// `CI=true` in the environment it panics instead, so that nothing is skipped unseen.
pub fn is_root_or_skip(test: &str) -> bool {
    let Err(reason) = privilege() else { return true };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot be skipped under CI=true: {reason}");
    // Not `eprintln!`, which the harness captures; in one piece, since tests run side by side. A closed terminal is no
    // reason to fail.
    let _ = std::io::stderr().write_all(format!("SKIPPED {test}: {reason}\n").as_bytes());
    false
}

/// Returns from a test that needs root where there is none; see [`is_root_or_skip`].
#[macro_export]
macro_rules! require_root {
    () => {
        // The name of a function defined here ends with its own, after the test's.
        fn here() {}
        if !$crate::is_root_or_skip(std::any::type_name_of_val(&here).trim_end_matches("::here")) {
            return;
        }
    };
}
