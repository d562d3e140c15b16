//! Frames as they are on a wire: sent and captured through `AF_PACKET`, built and checked here, not by the relay.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use lab::Host;

/// IPv4 header without options, bytes (RFC 791, 3.1).
pub const IPV4_LEN: usize = 20;
const UDP: u8 = 17;

/// An interface's wire: everything that passes it, both ways, and a way to put frames on it.
pub struct Wire {
    socket: File,
    mac: [u8; 6],
}

impl Wire {
    /// The wire at `interface` of `host`. Frames are captured from now on, some thousands are kept.
    pub fn open(host: &Host, interface: &str) -> Self {
        let mac = mac(host, interface);
        let index: u32 = read(host, interface, "ifindex").parse().expect("a number");
        let socket = host.run(|| packet_socket(index)).expect("the host");
        Self { socket, mac }
    }

    /// The interface's own address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Puts a frame on the wire.
    pub fn send(&self, frame: &[u8]) {
        (&self.socket).write_all(frame).expect("the frame leaves");
    }

    /// Frames that `wanted` accepts, until there are `count` of them or `timeout` passes.
    pub fn collect(&self, count: usize, timeout: Duration, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let mut frames = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while frames.len() < count {
            match (&self.socket).read(&mut buffer) {
                Ok(len) if wanted(&buffer[..len]) => frames.push(buffer[..len].to_vec()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || !readable(&self.socket, left) {
                        break;
                    }
                }
                Err(error) => panic!("capture: {error}"),
            }
        }
        frames
    }
}

fn packet_socket(index: u32) -> File {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "AF_PACKET: {}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor, ours alone.
    let socket = unsafe { File::from_raw_fd(fd) };
    let bytes: libc::c_int = 64 << 20;
    // SAFETY: the kernel reads the four bytes of `bytes`.
    unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const bytes).cast(), 4);
    }
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the kernel reads `size_of::<sockaddr_ll>()` bytes of `address`.
    let bound = unsafe { libc::bind(fd, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32) };
    assert_eq!(bound, 0, "bind: {}", std::io::Error::last_os_error());
    socket
}

fn readable(socket: &File, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, timeout.as_millis() as i32 + 1) > 0 }
}

fn read(host: &Host, interface: &str, file: &str) -> String {
    let mut command = std::process::Command::new("cat");
    command.arg(format!("/sys/class/net/{interface}/{file}"));
    host.output(command, "").expect("sysfs").trim().to_owned()
}

/// The address of an interface.
pub fn mac(host: &Host, interface: &str) -> [u8; 6] {
    let text = read(host, interface, "address");
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
    bytes.try_into().expect("six bytes")
}

/// One's complement sum of 16-bit words (RFC 1071), not complemented.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// A UDP header and payload with the right checksum.
pub fn udp(source: IpAddr, destination: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut udp = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    udp.extend_from_slice(payload);
    let checksum = match !sum(&[&pseudo(source, destination, udp.len()), &udp]) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    udp
}

/// The pseudo header (RFC 768; RFC 8200, 8.1).
fn pseudo(source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            [&source.octets()[..], &destination.octets(), &[0, UDP], &(length as u16).to_be_bytes()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [&source.octets()[..], &destination.octets(), &(length as u32).to_be_bytes(), &[0, 0, 0, UDP]].concat()
        }
        _ => panic!("two families"),
    }
}

/// An IPv4 packet; `fragment` is the flags and offset field, `options` a multiple of four bytes.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header_len = IPV4_LEN + options.len();
    let total = (header_len + payload.len()) as u16;
    let mut header = vec![0x40 | (header_len / 4) as u8, 0];
    header.extend(total.to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, UDP, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header.extend(options);
    let checksum = !sum(&[&header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&header, payload].concat()
}

/// An IPv6 packet whose first header is `next`.
pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// An Ethernet frame; `tags` are VLAN ids, outermost first.
pub fn ethernet(to: [u8; 6], from: [u8; 6], tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    for (place, tag) in tags.iter().enumerate() {
        let kind: u16 = if place + 1 < tags.len() { 0x88a8 } else { 0x8100 };
        frame.extend(kind.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    let kind: u16 = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// A captured datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    pub to_mac: [u8; 6],
    pub from_mac: [u8; 6],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ports: (u16, u16),
    pub payload: Vec<u8>,
    /// Header and UDP checksums are right.
    pub checksums: bool,
}

/// Reads an untagged frame with an unfragmented datagram, without options.
pub fn datagram(frame: &[u8]) -> Option<Datagram> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    let (source, destination, udp, header_is_right): (IpAddr, IpAddr, &[u8], bool) = match ethernet[12..] {
        [0x08, 0x00]
            if packet.len() >= 28 && packet[0] == 0x45 && packet[9] == UDP && packet[6].trailing_zeros() >= 6 =>
        {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            let address = |at: usize| Ipv4Addr::from_octets(packet[at..at + 4].try_into().unwrap());
            let right = sum(&[&packet[..IPV4_LEN]]) == 0xffff;
            (address(12).into(), address(16).into(), packet.get(IPV4_LEN..length)?, right)
        }
        [0x86, 0xdd] if packet.len() >= 48 && packet[6] == UDP => {
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            let address = |at: usize| Ipv6Addr::from_octets(packet[at..at + 16].try_into().unwrap());
            (address(8).into(), address(24).into(), packet.get(40..40 + length)?, true)
        }
        _ => return None,
    };
    let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let right = usize::from(word(4)) == udp.len()
        && word(6) != 0
        && sum(&[&pseudo(source, destination, udp.len()), udp]) == 0xffff;
    Some(Datagram {
        to_mac: ethernet[..6].try_into().unwrap(),
        from_mac: ethernet[6..12].try_into().unwrap(),
        source,
        destination,
        ports: (word(0), word(2)),
        payload: udp[8..].to_vec(),
        checksums: header_is_right && right,
    })
}
