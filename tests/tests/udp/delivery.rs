//! Everything arrives, for each driver and code, as long as losses stay within the promise.

use lab::{Loss, Options, Site, require_root};

use super::path::{Path5, stream};

fn complete(driver: &str, scheme: &str, loss: Loss, protection: (&str, &str, u32)) {
    let (share, residual, burst) = protection;
    let site = Site::new(driver).scheme(scheme).protect(share, residual, burst).stream(stream());
    let path = Path5::start(&Options { loss, ..Options::default() }, &site);
    let (sent, received) = path.send(|load| load.count(20_000).size(1400).flows(3));
    path.stop(sent, received).check_complete();
}

#[test]
fn xdp_without_loss() {
    require_root!();
    complete("xdp", "raptorq", Loss::None, ("0.1%", "1e-9", 4));
}
