//! What this process may do, and how it gets as much as it can.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::DemoArgs;

/// Set in the copy of this process that runs in a user namespace, so that it does not try again.
const INSIDE: &str = "RELAY_DEMO_IN_USER_NAMESPACE";

/// Capability numbers of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// What this process may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rights {
    /// Make hosts and load XDP programs.
    Xdp,
    /// Make hosts only; why no XDP.
    Namespaces(&'static str),
    /// Neither.
    None,
}

impl Rights {
    pub(super) fn find() -> Self {
        if lab::privilege().is_err() {
            return Self::None;
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::from(&read("/proc/self/uid_map"), &read("/proc/self/status"))
    }

    /// From the texts of `/proc/self/uid_map` and `/proc/self/status` of a process that can make hosts.
    fn from(uid_map: &str, status: &str) -> Self {
        // The first user namespace alone maps every user (user_namespaces(7)).
        if uid_map.split_whitespace().ne(["0", "0", "4294967295"]) {
            return Self::Namespaces("the kernel loads no BPF programs from a user namespace");
        }
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0);
        let has = |capability: u32| effective >> capability & 1 == 1;
        if has(CAP_NET_ADMIN) && (has(CAP_BPF) || has(CAP_SYS_ADMIN)) {
            Self::Xdp
        } else {
            Self::Namespaces("CAP_BPF and CAP_NET_ADMIN are missing")
        }
    }

    /// What the user gets, and how to get more.
    pub(super) fn explanation(&self, relay: &Path) -> String {
        match self {
            Self::Xdp => "root: XDP and AF_XDP carry the streams".to_owned(),
            Self::Namespaces(why) => {
                format!("no XDP: {why}; the same runs with driver = \"socket\". For XDP: {}", as_root(relay))
            }
            Self::None => "not root: trying a user namespace of our own".to_owned(),
        }
    }
}

/// The command that runs what is built already, as root: sudo has another PATH, and a build as root would leave files
/// that their owner cannot replace.
fn as_root(relay: &Path) -> String {
    let own = std::env::current_exe().map_or_else(|_| "cargo xtask".to_owned(), |path| path.display().to_string());
    format!("sudo {own} demo --relay {}", relay.display())
}

/// Replaces this process by a copy in user, network and mount namespaces of its own, where it counts as root.
///
/// Returns only when that fails.
pub(super) fn enter_user_namespace(relay: &Path, args: &DemoArgs) -> Result<()> {
    let remedy = format!("run it as root: {}", as_root(relay));
    if std::env::var_os(INSIDE).is_some() {
        let reason = lab::privilege().err().unwrap_or_default();
        bail!("no network namespaces even in a user namespace ({reason}); {remedy}");
    }
    let mut command = Command::new("unshare");
    command.arg("-Urnm").arg(std::env::current_exe().context("cannot tell where this program is")?);
    command.arg("demo").arg("--relay").arg(relay);
    if args.files {
        command.arg("--files");
    } else {
        command.args(["--seconds", &args.seconds.to_string(), "--rate", &args.rate.to_string()]);
    }
    if let Some(driver) = &args.driver {
        command.args(["--driver", driver]);
    }
    // Debian gives only root the folders where `nft` is.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    let error = command.env(INSIDE, "1").exec();
    Err(error).with_context(|| format!("cannot start unshare(1) for a user namespace; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_user_namespace_and_capabilities() {
        let whole = "         0          0 4294967295\n";
        let of = |map, mask: &str| Rights::from(map, &format!("Name:\txtask\nCapEff:\t{mask}\n"));
        assert_eq!(of(whole, "000001ffffffffff"), Rights::Xdp);
        assert_eq!(of(whole, "0000008000001000"), Rights::Xdp);
        assert!(matches!(of(whole, "0000000000001000"), Rights::Namespaces(_)));
        assert!(matches!(of("0 1000 1\n", "000001ffffffffff"), Rights::Namespaces(_)));
        assert!(matches!(of("", ""), Rights::Namespaces(_)));
    }
}
