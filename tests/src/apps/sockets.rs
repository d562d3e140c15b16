//! What a host's kernel tells about TCP sockets. No connection is made for it, which a server would have to serve.

use anyhow::Result;

use crate::Host;

/// `TCP_LISTEN` of `net/tcp_states.h`, as `/proc/net/tcp` prints it.
const LISTEN: &str = "0A";
/// `TCP_TIME_WAIT`: over for both ends.
const TIME_WAIT: &str = "06";

/// Whether anything on `host` listens on this port.
pub fn is_listening(host: &Host, port: u16) -> Result<bool> {
    Ok(states(host, port)?.iter().any(|state| state == LISTEN))
}

/// Whether every connection that was accepted on this port of `host` has ended in both directions.
pub fn is_idle(host: &Host, port: u16) -> Result<bool> {
    Ok(states(host, port)?.iter().all(|state| state == LISTEN || state == TIME_WAIT))
}

/// The states of all sockets with this local port.
fn states(host: &Host, port: u16) -> Result<Vec<String>> {
    let read = |table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
    let tables = host.run(|| ["tcp", "tcp6"].map(read))?;
    // Without IPv6 the second is missing.
    Ok(tables.iter().flatten().flat_map(|table| states_in(table, port)).map(str::to_owned).collect())
}

/// The same of one table as of `proc_pid_net(5)`, whose columns are number, local address, remote address, state.
fn states_in(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let local_end = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next()?.ends_with(&local_end).then(|| columns.nth(1))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_of_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 0A03470A:0202 00000000:0000 0A 00000000:00000000\n   \
                     1: 0A03470A:0202 0A01470A:9C40 01 00000000:00000000\n   \
                     2: 0A03470A:0CEA 0A01470A:0202 06 00000000:00000000\n";
        let states = |port| states_in(table, port).collect::<Vec<_>>();
        assert_eq!((states(514), states(3306), states(2)), (vec!["0A", "01"], vec!["06"], vec![]));
    }
}
