//! `cargo xtask setup`: installs what building and testing needs, and says why.
//!
//! Idempotent: every step looks first and does nothing where nothing is missing.
//!
//! ```text
//! packages   nftables, iproute2, g++              the tests' networks; linking bpf-linker
//! rustup     clippy, rustfmt                      the checks
//! toolchain  rustc-web | nightly with rust-src    a core library for BPF
//! linker     llvm-N-dev, then bpf-linker          N is the LLVM of that toolchain's rustc
//! tests      valgrind                             counts the instructions of the hot path
//! servers    rsyslog, mariadb, samba, ...         real applications that the tests send through the relay
//! ```

mod apt;
mod linker;
mod unpacked;

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    run,
    toolchain::{self, Choice, Kind, Toolchain},
};
use apt::Package;

/// Packages that are needed whichever toolchain builds the XDP programs.
const HOST_PACKAGES: [Package; 3] = [
    Package { name: "iproute2", why: "`ip` builds the network namespaces of the tests and the demo" },
    Package {
        name: "nftables",
        why: "`nft` is the one-way, lossy link between BLUE and RED in the tests and the demo",
    },
    Package { name: "g++", why: "bpf-linker links LLVM, which is C++" },
];

/// What the tests need besides.
const TEST_PACKAGES: [Package; 1] =
    [Package { name: "valgrind", why: "counts the instructions of the hot path, beside those kept in bench/" }];

/// Debian's way to a core library for BPF.
const DEBIAN_PACKAGES: [Package; 2] = [
    Package { name: "rustc-web", why: "a rustc whose version matches the prebuilt core library for BPF" },
    Package { name: "libstd-rust-web-dev-bpf", why: "the prebuilt core library for BPF" },
];

/// Real applications for the tests. Their services stay off: the tests start the programs themselves.
const APPLICATIONS: [Package; 8] = [
    Package { name: "rsyslog", why: "the tests send its messages one way" },
    Package { name: "mariadb-server", why: "the tests fill and read a database through the relay" },
    Package { name: "mariadb-client", why: "its clients" },
    Package { name: "nginx-light", why: "the tests fetch a file by HTTPS through the relay" },
    Package { name: "curl", why: "fetches it" },
    Package { name: "openssl", why: "makes the certificate" },
    Package { name: "openssh-server", why: "the tests read and store files on it by SFTP" },
    Package { name: "samba", why: "the tests read and store files on it by SMB" },
];

/// The systemd services that those bring.
const APPLICATION_UNITS: [&str; 7] = ["rsyslog", "mariadb", "nginx", "ssh", "smbd", "nmbd", "samba-ad-dc"];

/// Options of `setup`.
#[derive(Args)]
pub struct Options {
    /// Only report; exit 1 if something is missing
    #[arg(long)]
    pub check: bool,
    /// Only what building needs: leave out the applications that the tests send through the relay
    #[arg(long)]
    pub build_only: bool,
    /// Toolchain for the XDP programs
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// Looks at each step and, unless only checking, installs what is missing.
pub fn run(options: &Options) -> Result<()> {
    let mut setup = Setup { check: options.check, missing: 0, apt: apt::Apt::default() };
    setup.packages(&HOST_PACKAGES)?;
    setup.component("rustfmt", "cargo fmt checks the layout of the code")?;
    setup.component("clippy", "cargo clippy checks the code")?;
    if let Some(toolchain) = setup.toolchain(options.toolchain)? {
        setup.linker(&toolchain)?;
    }
    if !options.build_only {
        setup.packages(&TEST_PACKAGES)?;
        setup.applications()?;
    }
    optional();
    match setup.missing {
        0 => {
            println!("setup: complete");
            Ok(())
        }
        missing => bail!("{missing} missing (marked above); run: cargo xtask setup"),
    }
}

/// One run of the set-up.
struct Setup {
    check: bool,
    /// What `--check` found missing.
    missing: u32,
    apt: apt::Apt,
}

impl Setup {
    /// Shows a step; true if it is to be done now.
    fn step(&mut self, name: &str, why: &str, present: bool) -> bool {
        let state = match (present, self.check) {
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) => "install",
        };
        println!("{state:<8} {name}: {why}");
        if !present && self.check {
            self.missing += 1;
        }
        !present && !self.check
    }

    fn packages(&mut self, packages: &[Package]) -> Result<()> {
        match &self.wanted(packages)[..] {
            [] => Ok(()),
            wanted => self.apt.install(wanted),
        }
    }

    fn applications(&mut self) -> Result<()> {
        match &self.wanted(&APPLICATIONS)[..] {
            [] => {}
            wanted => self.apt.install_idle(wanted, &APPLICATION_UNITS)?,
        }
        self.packages(&unpacked::LIBRARIES)?;
        let mut missing = Vec::new();
        for server in &unpacked::SERVERS {
            if self.step(server.name, server.why, unpacked::is_present(server)?) {
                missing.push(server.name);
            }
        }
        if missing.is_empty() { Ok(()) } else { unpacked::unpack(&mut self.apt, &missing) }
    }

    /// Shows packages as steps; gives the names of those to be installed now.
    fn wanted<'a>(&mut self, packages: &[Package<'a>]) -> Vec<&'a str> {
        let missing = packages.iter().filter(|package| self.step(package.name, package.why, package.is_installed()));
        missing.map(|package| package.name).collect()
    }

    fn component(&mut self, name: &str, why: &str) -> Result<()> {
        let program = format!("cargo-{}", if name == "rustfmt" { "fmt" } else { name });
        let present = run::succeeds(Command::new(program).arg("--version"));
        if self.step(name, why, present) {
            run::show(Command::new("rustup").args(["component", "add", name]))
                .with_context(|| format!("{name} is a part of Rust: install it with rustup"))?;
        }
        Ok(())
    }

    /// The toolchain for the XDP programs; none if it is missing and only reported.
    fn toolchain(&mut self, choice: Choice) -> Result<Option<Toolchain>> {
        if let Ok(found) = toolchain::find(choice) {
            let name = format!("{} ({}, LLVM {})", found.kind, found.version, found.llvm);
            self.step(&name, "compiles the XDP programs", true);
            return Ok(Some(found));
        }
        let name = format!("a toolchain for {}", toolchain::BPF_TARGET);
        if !self.step(&name, "compiles the XDP programs", false) {
            self.step("bpf-linker", "its LLVM depends on that toolchain", false);
            return Ok(None);
        }
        match self.obtainable(choice)? {
            Kind::Debian => self.packages(&DEBIAN_PACKAGES)?,
            Kind::Nightly => {
                let mut rustup = Command::new("rustup");
                rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
                rustup.args(["--component", "rust-src"]);
                run::show(&mut rustup)
                    .context("rustup cannot fetch nightly with rust-src; on Debian, use --toolchain debian")?;
            }
        }
        Ok(Some(toolchain::find(choice)?))
    }

    /// Which of the two this machine can get.
    fn obtainable(&mut self, choice: Choice) -> Result<Kind> {
        let names = DEBIAN_PACKAGES.map(|package| package.name);
        Ok(match choice {
            Choice::Debian => Kind::Debian,
            Choice::Nightly => Kind::Nightly,
            Choice::Auto if self.apt.offers(&names)? => Kind::Debian,
            Choice::Auto => {
                println!("         these package sources have no rustc-web: rustup's nightly instead");
                Kind::Nightly
            }
        })
    }

    fn linker(&mut self, toolchain: &Toolchain) -> Result<()> {
        let why = "turns the compiled programs into one object that the kernel can load";
        if let Some(foreign) = crate::paths::foreign_linker() {
            if !run::succeeds(Command::new(&foreign).arg("--version")) {
                bail!(
                    "{} names {}, which does not run: correct or unset it",
                    crate::paths::LINKER_ENV,
                    foreign.display()
                );
            }
            let name = format!("{} (given in {})", foreign.display(), crate::paths::LINKER_ENV);
            self.step(&name, why, true);
            return Ok(());
        }
        let packages = linker::packages(toolchain.llvm);
        self.packages(&packages.each_ref().map(|(name, why)| Package { name, why }))?;
        let name = format!("bpf-linker {} for LLVM {}", linker::VERSION, toolchain.llvm);
        if self.step(&name, why, linker::is_installed(toolchain.llvm)?) {
            linker::install(toolchain.llvm)?;
        }
        Ok(())
    }
}

/// What is used where present, and never installed.
fn optional() {
    let ffmpeg = run::succeeds(Command::new("ffmpeg").arg("-version"));
    let state = if ffmpeg { "ok" } else { "absent" };
    println!("{state:<8} ffmpeg (optional): the demo sends a video stream where it is present");
    let deny = run::succeeds(Command::new("cargo-deny").arg("--version"));
    let state = if deny { "ok" } else { "absent" };
    println!("{state:<8} cargo-deny (optional): the tests check licences where it is present");
}
