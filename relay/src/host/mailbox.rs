//! Messages into a lane thread, which sleeps on file descriptors.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Messages that may wait: they are reloads and the order to stop, a handful in a lane's life.
const CAPACITY: usize = 16;

/// The lane's end.
#[derive(Debug)]
pub struct Mailbox<T> {
    messages: Receiver<T>,
    wake: UnixStream,
}

/// The control thread's end.
#[derive(Debug)]
pub struct MailboxSender<T> {
    messages: Sender<T>,
    wake: UnixStream,
}

/// A mailbox whose arrival makes a file descriptor readable.
pub fn mailbox<T>() -> std::io::Result<(MailboxSender<T>, Mailbox<T>)> {
    let (sender, receiver) = bounded(CAPACITY);
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((MailboxSender { messages: sender, wake: ours }, Mailbox { messages: receiver, wake: theirs }))
}

impl<T> MailboxSender<T> {
    /// Puts a message in and wakes the lane; gives it back if the lane is gone or does not read.
    pub fn send(&self, message: T) -> Result<(), T> {
        if self.messages.is_full() {
            return Err(message);
        }
        // First, so that the lane reads it with the message: a byte that came after would keep it awake for ever. A full
        // pipe wakes the lane just as well.
        let _ = (&self.wake).write(&[1]);
        self.messages.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }
}

impl<T> Mailbox<T> {
    /// The next message, if there is one. Makes no system call when there is none.
    pub fn take(&mut self) -> Option<T> {
        let message = self.messages.try_recv().ok()?;
        let mut woken = [0; CAPACITY];
        // A message with the byte of another is no harm: that one's is read with it, or was.
        let _ = self.wake.read(&mut woken);
        Some(message)
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
