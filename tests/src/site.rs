//! Site files for the laboratory's hosts.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::address as a;

/// One `[[stream]]`.
#[derive(Debug, Clone)]
pub struct Stream {
    text: String,
}

impl Stream {
    /// A `udp-unilateral` stream from the laboratory's client, BLUE's `port`, to `destination`. Ready as it is; add
    /// lines for the rest.
    pub fn udp(channel: u16, name: &str, port: u16, destination: impl Into<SocketAddr>) -> Self {
        Self::new(channel, name, "udp-unilateral", port, destination.into())
    }

    /// As [`Stream::udp`] with another `type`.
    pub fn new(channel: u16, name: &str, kind: &str, port: u16, destination: SocketAddr) -> Self {
        let text = format!(
            "[[stream]]\nchannel = {channel}\nname = \"{name}\"\ntype = \"{kind}\"\nsource_port = {port}\n\
             destination_ip = \"{}\"\ndestination_port = {}\n",
            destination.ip(),
            destination.port(),
        );
        Self { text }
    }

    /// Adds a line, for example `max_sessions = 4`. Without one for `source_ip` the laboratory's client may send.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.text += line;
        self.text.push('\n');
        self
    }

    fn text(&self) -> String {
        let mut text = self.text.clone();
        if !text.lines().any(|line| line.starts_with("source_ip ")) {
            let _ = writeln!(text, "source_ip = [\"{}\", \"{}\"]", a::CLIENT, a::CLIENT_V6);
        }
        text
    }
}

/// A site file for [`crate::Lab`]: its interfaces, addresses and MACs are filled in, everything else has the
/// relay's defaults until a line says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Site {
    link: Vec<String>,
    fec: Vec<String>,
    blue: Vec<String>,
    red: Vec<String>,
    /// The text of `[link.return]`; empty without a return link.
    back: String,
    streams: Vec<Stream>,
    /// Further tables.
    tables: String,
}

impl Site {
    /// A site with this driver, `xdp` or `socket`, on every hop, unsealed.
    pub fn new(driver: &str) -> Self {
        Self::default().link(&format!("driver = \"{driver}\""))
    }

    /// Adds a line to `[link]`, for example `mtu = 9000`.
    #[must_use]
    pub fn link(mut self, line: &str) -> Self {
        self.link.push(line.to_owned());
        self
    }

    /// Adds a line to `[link.fec]`, for example `deadline = "10ms"`.
    #[must_use]
    pub fn fec(mut self, line: &str) -> Self {
        self.fec.push(line.to_owned());
        self
    }

    /// The code: `raptorq`, `reed-solomon` or `none`.
    #[must_use]
    pub fn scheme(self, scheme: &str) -> Self {
        self.fec(&format!("scheme = \"{scheme}\""))
    }

    /// Protection as a promise, for example `("2%", "1e-9", 0)`.
    #[must_use]
    pub fn protect(self, loss: &str, residual: &str, burst: u32) -> Self {
        self.fec(&format!(r#"protect = {{ loss = "{loss}", residual = "{residual}", burst = {burst} }}"#))
    }

    /// Protection as a share, for example `"10%"`.
    #[must_use]
    pub fn repair(self, share: &str) -> Self {
        self.fec(&format!("repair = \"{share}\""))
    }

    /// Seals the link with the key of this file (`relay keygen`).
    #[must_use]
    pub fn key_file(self, path: &Path) -> Self {
        self.link(&format!("key_file = \"{}\"", path.display()))
    }

    /// Adds a line to `[blue]`, for example `driver = "socket"`.
    #[must_use]
    pub fn blue(mut self, line: &str) -> Self {
        self.blue.push(line.to_owned());
        self
    }

    /// Adds a line to `[red]`.
    #[must_use]
    pub fn red(mut self, line: &str) -> Self {
        self.red.push(line.to_owned());
        self
    }

    /// Uses the laboratory's return link ([`crate::Options::return_loss`]) in this mode, `status` or `full`.
    #[must_use]
    pub fn return_link(mut self, mode: &str) -> Self {
        self.back = format!(
            "mode = \"{mode}\"\n\
             red = {{ interface = \"{}\", address = \"{}\" }}\n\
             blue = {{ interface = \"{}\", address = \"{}\", mac = \"{}\" }}",
            a::RED_RETURN_IF,
            a::RED_RETURN,
            a::BLUE_RETURN_IF,
            a::BLUE_RETURN,
            a::BLUE_RETURN_MAC,
        );
        self
    }

    /// Adds a stream.
    #[must_use]
    pub fn stream(mut self, stream: Stream) -> Self {
        self.streams.push(stream);
        self
    }

    /// Adds tables as they are, for example `[[files]]`.
    #[must_use]
    pub fn tables(mut self, text: &str) -> Self {
        self.tables += text;
        self.tables.push('\n');
        self
    }

    /// Do the relays put XDP programs on their cards? As [`Site::new`] was told, whatever single hosts do.
    pub fn has_programs(&self) -> bool {
        self.link.iter().any(|line| line == "driver = \"xdp\"")
    }

    /// The file's text, with the state of both sides kept below `state_dir`.
    pub fn text(&self, state_dir: &Path) -> String {
        let state = state_dir.display();
        let mut text = String::new();
        let mut section = |head: &str, fixed: &str, lines: &[String]| {
            let _ = writeln!(text, "{head}\n{fixed}{}\n", lines.join("\n"));
        };
        let end = |interface, address, mac| format!("interface = \"{interface}\"\naddress = \"{address}\"\n{mac}");
        section("[link]", "", &self.link);
        section("[link.blue]", &end(a::BLUE_LINK_IF, a::BLUE_LINK, String::new()), &[]);
        section("[link.red]", &end(a::RED_LINK_IF, a::RED_LINK, format!("mac = \"{}\"\n", a::RED_LINK_MAC)), &[]);
        section("[link.fec]", "", &self.fec);
        section("[blue]", &format!("interface = \"{}\"\nstate_dir = \"{state}/blue\"\n", a::BLUE_IF), &self.blue);
        section("[red]", &format!("interface = \"{}\"\nstate_dir = \"{state}/red\"\n", a::RED_IF), &self.red);
        if !self.back.is_empty() {
            section("[link.return]", &self.back, &[]);
        }
        for stream in &self.streams {
            text += &stream.text();
            text.push('\n');
        }
        text + &self.tables
    }

    /// Writes `site.toml` into `folder`, with folders for the state of both sides beside it; gives its path.
    ///
    /// Writing it again changes the file for a reload.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        for side in ["blue", "red"] {
            std::fs::create_dir_all(folder.join(side)).with_context(|| format!("no folder in {}", folder.display()))?;
        }
        let path = folder.join("site.toml");
        std::fs::write(&path, self.text(folder)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_was_asked_for() {
        let stream = Stream::udp(1, "video", 5000, (a::SERVER, 6000)).line("max_sessions = 4");
        let site = Site::new("socket").scheme("reed-solomon").repair("10%").return_link("full").stream(stream);
        let text = site.text(Path::new("/state"));
        for wanted in [
            "[link]\ndriver = \"socket\"\n",
            "[link.red]\ninterface = \"red1\"\naddress = \"10.71.2.2\"\nmac = \"02:00:00:00:00:02\"\n",
            "[link.fec]\nscheme = \"reed-solomon\"\nrepair = \"10%\"\n",
            "[blue]\ninterface = \"blu0\"\nstate_dir = \"/state/blue\"\n",
            "[link.return]\nmode = \"full\"\nred = { interface = \"red2\", address = \"10.71.4.2\" }\n",
            "blue = { interface = \"blu2\", address = \"10.71.4.1\", mac = \"02:00:00:00:00:04\" }\n",
            "channel = 1\nname = \"video\"\ntype = \"udp-unilateral\"\nsource_port = 5000\n",
            "destination_ip = \"10.71.3.10\"\ndestination_port = 6000\nmax_sessions = 4\nsource_ip = [",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
    }
}
