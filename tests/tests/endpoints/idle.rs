//! What is left of a connection that is dropped.

use std::time::Duration;

use bytes::Bytes;
use relay::files::FileName;
use relay::files::endpoint::connect;

use crate::contract::Subject;

/// `TCP_ESTABLISHED` of `net/tcp_states.h`, as `/proc/net/tcp` prints it.
const ESTABLISHED: &str = "01";
/// A dropped connection has ended long before.
const END_MAX: Duration = Duration::from_secs(20);
/// Between two looks at the sockets: the kernel tells nobody when one ends.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Nothing stays connected, whatever was open.
pub async fn a_dropped_connection_is_closed(subject: &Subject) {
    let name = FileName::new("file").expect("a name");
    let mut endpoint = connect(&subject.place).await.unwrap_or_else(|error| panic!("{error}"));
    endpoint.create(&name).await.unwrap_or_else(|error| panic!("{error}"));
    endpoint.append(Bytes::from(vec![0; 1 << 20])).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(connections() > 0);
    drop(endpoint);
    let ended = async {
        while connections() > 0 {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    };
    tokio::time::timeout(END_MAX, ended).await.expect("it is closed");
}

/// Ends of established TCP connections on this host, which is the test's own.
fn connections() -> usize {
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")));
    let states =
        |table: &String| table.lines().filter(|line| line.split_whitespace().nth(3) == Some(ESTABLISHED)).count();
    tables.iter().flatten().map(states).sum()
}
