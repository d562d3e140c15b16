//! Datagrams that the kernel dropped because a socket's buffer was full.

use std::fs;

/// Drops of all UDP sockets of this network namespace that are bound to `port`, since they were opened, by the last
/// column of `/proc/net/udp` and `udp6` (the kernel's `proc_net_tcp.rst` shows the layout). 0 where that
/// cannot be read.
pub fn udp_drops(port: u16) -> u64 {
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|table| drops_in(&table, port))
        .sum()
}

fn drops_in(table: &str, port: u16) -> u64 {
    let wanted = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let drops = rows.filter_map(|columns| {
        let local = columns.get(1)?;
        local.ends_with(&wanted).then(|| columns.last()?.parse::<u64>().ok()).flatten()
    });
    drops.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_column_of_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
            10: 00000000:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 17\n  \
            11: 00000000:1389 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 4\n";
        assert_eq!(drops_in(table, 5000), 17);
        assert_eq!(drops_in(table, 5001), 4);
        assert_eq!(drops_in(table, 5002), 0);
    }

    #[test]
    fn a_socket_that_nobody_reads_drops() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let port = socket.local_addr().expect("bound").port();
        assert_eq!(udp_drops(port), 0);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        for _ in 0..10_000 {
            sender.send_to(&[0; 1000], ("127.0.0.1", port)).expect("loopback");
        }
        assert!(udp_drops(port) > 0);
    }
}
