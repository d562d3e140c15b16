//! A diode: a host between two others whose kernel lets frames pass one way only, and loses some.
//!
//! An nftables `netdev` table does it on the ingress hooks, at the kernel's speed, for `AF_XDP` senders too. What it
//! counts is exact: frames in = forwarded + dropped.
//!
//! ```text
//!  input  (from the sender)   --> chain loss --drop--> counter dropped
//!                                      '--> counter forwarded --fwd--> output
//!  output (from the receiver) --> counter came_back --> drop
//! ```

use anyhow::{Context, Result};

use crate::Host;

/// What a diode does to frames from its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Every frame passes.
    None,
    /// Each frame is lost independently with this probability, in millionths.
    Random {
        /// 20,000 is 2%, 5,000 is 0.5%. At most 1,000,000.
        per_million: u32,
    },
    /// The first `burst` of every `period` frames are lost.
    Bursts {
        /// Length of a burst, in frames.
        burst: u32,
        /// Frames from one burst's start to the next one's, at least 1.
        period: u32,
    },
    /// Nothing passes, as when the fibre is out.
    All,
}

impl Loss {
    /// Independent loss of so many percent.
    pub fn percent(percent: f64) -> Self {
        Self::Random { per_million: (percent * 10_000.0).round() as u32 }
    }

    /// The fewest frames that are lost of thousands.
    pub fn frames_min(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Random { .. } | Self::All => 1,
            Self::Bursts { burst, .. } => burst.into(),
        }
    }

    /// The rule of the `loss` chain, if one is needed.
    fn rule(self) -> Option<String> {
        Some(match self {
            Self::None => return None,
            Self::Random { per_million } => format!("numgen random mod 1000000 < {per_million}"),
            Self::Bursts { burst, period } => format!("numgen inc mod {period} < {burst}"),
            Self::All => String::new(),
        })
    }
}

/// Frames counted by a diode since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames from the sender that went on to the receiver.
    pub forwarded: u64,
    /// Frames from the sender that were lost on purpose.
    pub dropped: u64,
    /// Frames that the receiver sent back. None ever arrived; a diode's receiver sends none.
    pub came_back: u64,
}

/// A running diode.
#[derive(Debug)]
pub struct Diode {
    host: Host,
    input: &'static str,
    output: &'static str,
}

impl Diode {
    /// Makes the host; its table follows once the interfaces `input`, to the sender, and `output`, to the receiver,
    /// are there ([`Diode::install`]).
    pub(crate) fn new(name: &str, input: &'static str, output: &'static str) -> Result<Self> {
        Ok(Self { host: Host::new(name)?, input, output })
    }

    /// Starts forwarding from `input` to `output`.
    pub(crate) fn install(&self, loss: Loss) -> Result<()> {
        let (input, output) = (self.input, self.output);
        self.host.nft(&format!(
            "table netdev diode {{
                counter forwarded {{ }}
                counter dropped {{ }}
                counter came_back {{ }}
                chain loss {{ }}
                chain from_sender {{
                    type filter hook ingress device {input} priority 0; policy drop;
                    jump loss
                    counter name forwarded fwd to {output}
                }}
                chain from_receiver {{
                    type filter hook ingress device {output} priority 0; policy drop;
                    counter name came_back drop
                }}
            }}"
        ))?;
        self.set_loss(loss)
    }

    /// The interface to the sender.
    pub(crate) fn input(&self) -> &'static str {
        self.input
    }

    /// The interface to the receiver.
    pub(crate) fn output(&self) -> &'static str {
        self.output
    }

    /// The diode's host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Changes what is lost from the next frame on, in one step. The counters go on.
    pub fn set_loss(&self, loss: Loss) -> Result<()> {
        let rule = loss.rule().map_or_else(String::new, |condition| {
            format!("add rule netdev diode loss {condition} counter name dropped drop\n")
        });
        self.host.nft(&format!("flush chain netdev diode loss\n{rule}")).map(drop)
    }

    /// Reads the counters.
    pub fn counters(&self) -> Result<Counters> {
        let text = self.host.nft("list counters table netdev diode\n")?;
        let read = |name: &str| packets(&text, name).with_context(|| format!("diode: no counter {name} in: {text}"));
        Ok(Counters { forwarded: read("forwarded")?, dropped: read("dropped")?, came_back: read("came_back")? })
    }
}

/// The packets of `counter NAME { packets N bytes M }` in nft's listing.
fn packets(listing: &str, name: &str) -> Option<u64> {
    let mut words = listing.split_whitespace().skip_while(|word| *word != name);
    words.find(|word| *word == "packets")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_the_listing() {
        let listing = "table netdev diode {\n\tcounter forwarded {\n\t\tpackets 97 bytes 12416\n\t}\n\tcounter dropped {\n\t\tpackets 3 bytes 9\n\t}\n}";
        assert_eq!(packets(listing, "forwarded"), Some(97));
        assert_eq!(packets(listing, "dropped"), Some(3));
        assert_eq!(packets(listing, "came_back"), None);
    }

    #[test]
    fn percent_is_exact() {
        assert_eq!(Loss::percent(2.0), Loss::Random { per_million: 20_000 });
        assert_eq!(Loss::percent(0.5), Loss::Random { per_million: 5_000 });
    }
}
