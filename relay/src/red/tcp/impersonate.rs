//! Connecting to a destination as RED, or as the client.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::Impersonate;
use crate::tcp::reset_when_dropped;

/// First bytes of a PROXY protocol header (`HAProxy`'s proxy-protocol.txt, 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// TCP over IPv4, TCP over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Connects to `destination` for `client`, whose address is there if the stream is to show it. The connection ends with a reset
/// from its first moment on, also if whoever waits for it gives up just then.
pub async fn connect(how: Impersonate, client: Option<SocketAddr>, destination: SocketAddr) -> io::Result<TcpStream> {
    let socket = match (how, client) {
        (Impersonate::Transparent, Some(client)) => bound_as(client, destination)?,
        _ if destination.is_ipv4() => TcpSocket::new_v4()?,
        _ => TcpSocket::new_v6()?,
    };
    reset_when_dropped(&socket);
    socket.connect(destination).await
}

/// What goes to the destination before the client's first byte.
pub fn header(how: Impersonate, client: Option<SocketAddr>, destination: SocketAddr) -> Vec<u8> {
    match (how, client) {
        (Impersonate::ProxyV2, Some(client)) => proxy_header(client, destination),
        _ => Vec::new(),
    }
}

/// A socket with an address that is not this host's (`IP_TRANSPARENT`, ip(7)); the way back must lead here.
fn bound_as(client: SocketAddr, destination: SocketAddr) -> io::Result<TcpSocket> {
    if client.is_ipv4() != destination.is_ipv4() {
        let text = "the client's address is of another IP family than the destination's: transparent is impossible";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, Some(Protocol::TCP))?;
    let transparent =
        if client.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) };
    transparent.map_err(|error| with_hint(&error))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&client.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn with_hint(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{error}: impersonate = \"transparent\" needs CAP_NET_ADMIN or CAP_NET_RAW"))
}

/// Addresses of both ends, in the destination's terms: source and destination must be of one family, so that where they are
/// not, the IPv4 one is mapped (RFC 4291, 2.5.5.2).
fn proxy_header(client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(PROXY);
    let mut addresses = Vec::new();
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (client.ip(), destination.ip()) {
        header.push(TCP4);
        addresses.extend(from.octets());
        addresses.extend(to.octets());
    } else {
        header.push(TCP6);
        for end in [client, destination] {
            addresses.extend(match end.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            });
        }
    }
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(destination.port().to_be_bytes());
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    /// A session may be broken off while its destination is being reached.
    #[tokio::test]
    async fn a_connection_that_nobody_takes_is_reset() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let destination = listener.local_addr().expect("bound");
        drop(connect(Impersonate::Off, None, destination).await.expect("it listens"));
        let (accepted, _) = listener.accept().await.expect("connected");
        let ended = tokio::io::AsyncReadExt::read(&mut { accepted }, &mut [0]).await;
        assert_eq!(ended.expect_err("no end in order").kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn the_header_is_as_the_specification_draws_it() {
        let header = proxy_header(at("192.0.2.1:513"), at("198.51.100.2:514"));
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x02\x01\x02\x02";
        assert_eq!(header, expected);
    }

    #[test]
    fn mixed_families_become_ipv6() {
        let header = proxy_header(at("192.0.2.1:513"), at("[2001:db8::2]:514"));
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(header[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1]);
        assert_eq!(header.len(), 16 + 36);
    }

    #[test]
    fn without_a_client_there_is_no_header() {
        assert!(header(Impersonate::Off, Some(at("192.0.2.1:1")), at("192.0.2.2:2")).is_empty());
        assert!(header(Impersonate::ProxyV2, None, at("192.0.2.2:2")).is_empty());
    }
}
