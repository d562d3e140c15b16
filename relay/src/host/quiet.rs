//! Keeps the kernel itself from talking on a link interface: a diode carries nothing back, and a neighbour query that
//! nobody can answer is at best noise.

use std::path::Path;

/// Turns IPv6 off on `interface`, or says in the log how the operator can. ARP is the operator's: see the text.
pub fn quiet(interface: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    if !Path::new(&path).exists() {
        return;
    }
    let already = std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1");
    if already {
        return;
    }
    match std::fs::write(&path, "1") {
        Ok(()) => tracing::info!(interface, "turned IPv6 off, so that the kernel sends nothing on the link"),
        Err(error) => tracing::warn!(
            interface,
            %error,
            "the kernel may send IPv6 neighbour discovery on the link; to stop it: sysctl -w net.ipv6.conf.{interface}.disable_ipv6=1 && ip link set dev {interface} arp off"
        ),
    }
}
