//! Datagrams that the kernel dropped because a socket's buffer was full.

use std::collections::HashMap;
use std::fs;

/// Drops of all UDP sockets of this network namespace, since they were opened.
#[derive(Debug, Default)]
pub struct UdpDrops(HashMap<u16, u64>);

impl UdpDrops {
    /// Reads the last column of `/proc/net/udp` and `udp6` (the kernel's `proc_net_tcp.rst` shows the layout). What
    /// cannot be read counts as no drops.
    pub fn read() -> Self {
        let mut drops = Self::default();
        for path in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
            drops.add(&fs::read_to_string(path).unwrap_or_default());
        }
        drops
    }

    /// Drops of the sockets that are bound to `port`.
    pub fn of(&self, port: u16) -> u64 {
        self.0.get(&port).copied().unwrap_or(0)
    }

    fn add(&mut self, table: &str) {
        for row in table.lines().skip(1) {
            let mut columns = row.split_whitespace();
            let port = columns.nth(1).and_then(|local| u16::from_str_radix(local.rsplit(':').next()?, 16).ok());
            let drops = columns.last().and_then(|drops| drops.parse::<u64>().ok());
            if let (Some(port), Some(drops)) = (port, drops) {
                *self.0.entry(port).or_default() += drops;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_column_of_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
            10: 00000000:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 17\n  \
            11: 00000000:1389 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 4\n";
        let mut drops = UdpDrops::default();
        drops.add(table);
        assert_eq!([5000, 5001, 5002].map(|port| drops.of(port)), [17, 4, 0]);
    }

    #[test]
    fn a_socket_that_nobody_reads_drops() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let port = socket.local_addr().expect("bound").port();
        assert_eq!(UdpDrops::read().of(port), 0);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        for _ in 0..10_000 {
            sender.send_to(&[0; 1000], ("127.0.0.1", port)).expect("loopback");
        }
        assert!(UdpDrops::read().of(port) > 0);
    }
}
