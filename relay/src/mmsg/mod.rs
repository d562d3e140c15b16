//! Several datagrams with one system call (`sendmmsg`, `recvmmsg`), and several in one message, which the kernel or the card cuts
//! apart (`UDP_SEGMENT`) or has put together (`UDP_GRO`), see udp(7).
//!
//! Owns: the buffers of an [`Inbox`], and the `unsafe` of the socket driver; packet sockets send through its system call, too.
//! Never waits, never allocates after opening, knows nothing of frames or sessions.
//!
//! ```text
//!   send:   1400 1400 1400 900 | 1400 1400      datagrams in order
//!           '---- message ---'   '-message-'    equal sizes, the last may be shorter: one way through the kernel for all of them
//! ```

mod inbox;
mod outbox;

pub use inbox::{Inbox, join_on_arrival};
pub use outbox::{SEND_MAX, is_about_segments, send};

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `sendmmsg` without waiting; returns how many messages have left.
///
/// # Safety
/// The headers must point to memory that lives through the call; it is only read.
pub(crate) unsafe fn send_messages(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let (fd, count) = (socket.as_raw_fd(), headers.len() as libc::c_uint);
    // SAFETY: by this function's contract.
    check(unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) })
}

/// Turns the "-1 and errno" convention into a `Result`.
pub(crate) fn check(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use proptest::prelude::*;

    use super::*;

    /// Two sockets that are connected over loopback.
    fn pair() -> (UdpSocket, UdpSocket) {
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.set_nonblocking(true).unwrap();
        (one, other)
    }

    /// Datagrams of these sizes, each with bytes of its own.
    fn datagrams(sizes: &[usize]) -> Vec<Vec<u8>> {
        sizes.iter().enumerate().map(|(number, size)| vec![number as u8; *size]).collect()
    }

    fn send_all(socket: &UdpSocket, datagrams: &[Vec<u8>], segments: bool) {
        let mut rest = datagrams;
        while !rest.is_empty() {
            let sent = send(socket.as_fd(), rest.iter().map(Vec::as_slice), segments).expect("loopback");
            rest = &rest[sent..];
        }
    }

    fn receive_all(socket: &UdpSocket, inbox: &mut Inbox) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        // Over loopback what was sent is there.
        while inbox.receive(socket.as_fd()).is_ok() {
            while let Some(datagram) = inbox.pop() {
                received.push(datagram.bytes.to_vec());
            }
        }
        received
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_sent_arrives_however_it_was_put_together(
            runs in prop::collection::vec((0..3000_usize, 1..70_usize), 1..6),
            segments: bool,
            joined: bool,
            messages in 1..9_usize,
        ) {
            let sizes: Vec<usize> = runs.iter().flat_map(|(size, count)| vec![*size; *count]).collect();
            let (one, other) = pair();
            socket2::SockRef::from(&other).set_recv_buffer_size(8 << 20).unwrap();
            if joined {
                join_on_arrival(&other).unwrap();
            }
            let sent = datagrams(&sizes);
            let mut inbox = Inbox::new(messages);
            // In parts that the receiver's buffer holds on any machine.
            for part in sent.chunks(16) {
                send_all(&one, part, segments);
                prop_assert_eq!(receive_all(&other, &mut inbox), part);
            }
        }
    }

    #[test]
    fn a_datagram_tells_who_sent_it() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (one, other) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
            one.send_to(b"", other.local_addr().unwrap()).unwrap();
            let mut inbox = Inbox::new(4);
            assert_eq!(inbox.receive(other.as_fd()).unwrap(), 1);
            let datagram = inbox.pop().expect("an empty one is one");
            assert_eq!((&*datagram.bytes, datagram.source), (&[][..], Some(one.local_addr().unwrap())));
            assert!(inbox.pop().is_none());
        }
    }

    #[test]
    fn an_empty_socket_would_block_and_no_more_than_asked_leaves_at_once() {
        let (one, other) = pair();
        let error = Inbox::new(1).receive(other.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let many = datagrams(&[1; 2 * SEND_MAX]);
        assert_eq!(send(one.as_fd(), many.iter().map(Vec::as_slice), true).unwrap(), SEND_MAX);
    }
}
