//! A way from the client to the server: over the relay, or through the kernels of its hosts.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, Options, RelayProcess, Role, Site, TempDir, address};

use super::cost::Watched;

/// Of the stream, on BLUE and on the server.
pub const PORT: u16 = 5000;
/// For the site file: packets leave one by one.
pub const AF_XDP: &str = "transmit = \"af_xdp\"";
/// A mebibyte, as memory is counted.
pub const MEBIBYTE: f64 = (1 << 20) as f64;

/// The hosts, and what runs on them.
pub struct Path {
    /// The hosts.
    pub lab: Lab,
    relays: Option<Relays>,
}

struct Relays {
    blue: RelayProcess,
    red: RelayProcess,
    /// Site file and state.
    _folder: TempDir,
}

impl Path {
    /// The kernels of BLUE and RED forward.
    pub fn kernel(options: &Options) -> Result<Self> {
        let lab = Lab::new(options)?;
        lab.forward_in_kernel()?;
        Ok(Self { lab, relays: None })
    }

    /// Both relays, the link sealed; with `threaded`, a kernel thread polls RED's card on the link, and BLUE sends over `AF_XDP`: what a
    /// packet socket sends at once is more than a veth's 256 entries hold until the thread gets to them.
    pub fn relay(options: &Options, site: &Site, threaded: bool) -> Result<Self> {
        let lab = Lab::new(options)?;
        if !site.has_programs() {
            lab.gro_on_link()?;
        }
        let folder = TempDir::new()?;
        let key = folder.path().join("link.key");
        keygen(&key)?;
        let site = if threaded { site.clone().link(AF_XDP) } else { site.clone() };
        let file = site.key_file(&key).write(folder.path())?;
        let red = RelayProcess::start(&binary()?, Role::Red, &lab.red, &file)?;
        let blue = RelayProcess::start(&binary()?, Role::Blue, &lab.blue, &file)?;
        if threaded {
            lab.red.threaded_napi(address::RED_LINK_IF)?;
        }
        Ok(Self { lab, relays: Some(Relays { blue, red, _folder: folder }) })
    }

    /// Where the client sends to.
    pub fn destination(&self) -> SocketAddr {
        let host = if self.relays.is_some() { address::BLUE } else { address::SERVER };
        (host, PORT).into()
    }

    /// Whose processor time counts.
    pub fn watched(&self) -> Result<Watched> {
        let [blue, red] = self.relays().map_or([None; 2], |relays| relays.map(Some));
        Watched::new(blue, red)
    }

    /// The processes of BLUE and RED, if relays are between client and server.
    pub fn relays(&self) -> Option<[u32; 2]> {
        self.relays.as_ref().map(|Relays { blue, red, .. }| [blue.id(), red.id()])
    }

    /// The most memory that BLUE and RED had resident, MiB.
    pub fn memory_mib(&self) -> Result<Option<[f64; 2]>> {
        let Some([blue, red]) = self.relays() else { return Ok(None) };
        let of = |process| lab::usage::memory_max_bytes(process).map(|bytes| bytes as f64 / MEBIBYTE);
        Ok(Some([of(blue)?, of(red)?]))
    }

    /// Stops the relays, which must end well; nothing may have come back over the diode.
    pub fn stop(self) -> Result<()> {
        if let Some(Relays { blue, red, .. }) = self.relays {
            for relay in [blue, red] {
                let stopped = relay.stop()?;
                ensure!(stopped.status.success(), "a relay ended with {}:\n{}", stopped.status, stopped.log.text());
            }
            let came_back = self.lab.diode.counters()?.came_back;
            ensure!(came_back == 0, "{came_back} frames came back over the diode");
        }
        Ok(())
    }
}

/// Writes a key.
pub fn keygen(file: &std::path::Path) -> Result<()> {
    let made = std::process::Command::new(binary()?).arg("keygen").arg(file).output()?;
    ensure!(made.status.success(), "relay keygen: {made:?}");
    Ok(())
}

/// The released `relay` beside this program, or the one that `RELAY_BINARY` names.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("RELAY_BINARY") {
        return Ok(binary.into());
    }
    let beside = std::env::current_exe()?.with_file_name("relay");
    ensure!(beside.exists(), "{} is not built; `cargo xtask bench` builds it", beside.display());
    std::fs::canonicalize(&beside).context("the relay's program")
}
