//! The way out on SIGINT and SIGTERM.

use std::thread;

use crate::{sys, tempdir};

/// From now on SIGINT and SIGTERM remove this process's temporary folders and end it with status 128 + signal.
///
/// Call it before any other thread is started, which would still take the signals, and after programs that Ctrl-C
/// should end are run: only those started through a [`crate::Host`] do not inherit the block. Namespaces and children
/// need no help, the kernel ends them with the process.
pub fn clean_up_on_interrupt() {
    let signals = sys::block_signals(&[libc::SIGINT, libc::SIGTERM]);
    thread::spawn(move || {
        let signal = sys::wait_signal(&signals);
        tempdir::remove_all();
        std::process::exit(128 + signal);
    });
}
