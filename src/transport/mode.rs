//! Which compression two servers agree on.
//!
//! Both ends compute the same answer from their own configuration and the other's word, so that
//! nothing but the modes themselves is said. The level is each end's own choice; only whether the
//! bytes are compressed at all must agree.

use std::fmt;
use std::str::FromStr;

/// A compression mode, as configured and as told to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Compression is refused.
    Off,
    /// This end behaves as if it had never heard of compression.
    NotSupported,
    /// What the other end wants; between two of them, nothing.
    Accept,
    /// A level by the connection's round trip.
    Auto,
    /// Frames without compression. Nobody configures it; a peer may say it.
    Uncompressed,
    /// The fastest level.
    Fast,
    /// A level that spends more time.
    Better,
    /// The level that spends the most time.
    Best,
}

/// A mode that the peer named and this server does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedMode(pub String);

impl Mode {
    /// The mode's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NotSupported => "not supported",
            Self::Accept => "accept",
            Self::Auto => "s2_auto",
            Self::Uncompressed => "s2_uncompressed",
            Self::Fast => "s2_fast",
            Self::Better => "s2_better",
            Self::Best => "s2_best",
        }
    }

    /// Whether a connection in this mode is compressed.
    #[must_use]
    pub const fn compresses(self) -> bool {
        match self {
            Self::Auto | Self::Uncompressed | Self::Fast | Self::Better | Self::Best => true,
            Self::Off | Self::NotSupported | Self::Accept => false,
        }
    }

    /// Whether this end takes part in negotiations at all.
    #[must_use]
    pub const fn negotiates(self) -> bool {
        !matches!(self, Self::Off | Self::NotSupported)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a mode as it is configured, in any case and with its aliases.
impl FromStr for Mode {
    type Err = UnsupportedMode;

    fn from_str(text: &str) -> Result<Self, UnsupportedMode> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "off" | "disabled" | "false" => Self::Off,
            "not supported" | "not_supported" => Self::NotSupported,
            "accept" => Self::Accept,
            "on" | "enabled" | "true" | "s2_fast" | "fast" => Self::Fast,
            "s2_auto" | "auto" => Self::Auto,
            "s2_better" | "better" => Self::Better,
            "s2_best" | "best" => Self::Best,
            _unknown => return Err(UnsupportedMode(text.to_owned())),
        })
    }
}

impl fmt::Display for UnsupportedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unsupported route compression mode \"{}\"", self.0)
    }
}

impl std::error::Error for UnsupportedMode {}

/// What a connection uses whose two ends have these modes: [`Mode::Off`] is plain bytes, anything
/// else a mode that [compresses](Mode::compresses).
///
/// # Errors
/// When the peer names a mode that there is not.
pub fn negotiate(own: Mode, remote: Option<&str>) -> Result<Mode, UnsupportedMode> {
    if !own.negotiates() {
        return Ok(Mode::Off);
    }
    let remote = match remote.unwrap_or_default() {
        "" => Mode::NotSupported,
        "s2_uncompressed" => Mode::Uncompressed,
        text => text.parse()?,
    };
    Ok(match (own, remote) {
        (_, Mode::Off | Mode::NotSupported) | (Mode::Accept, Mode::Accept) => Mode::Off,
        // Who has no opinion cannot follow the round trip of the other end either.
        (Mode::Accept, Mode::Auto) => Mode::Fast,
        (Mode::Accept, wanted) => wanted,
        (own, _) => own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_come_to_the_same_answer() {
        let modes = [
            Mode::Off,
            Mode::NotSupported,
            Mode::Accept,
            Mode::Auto,
            Mode::Fast,
            Mode::Better,
            Mode::Best,
        ];
        for one in modes {
            for other in modes {
                let here = negotiate(one, Some(other.as_str())).unwrap();
                // The solicitor tells what it has chosen, or its mode where it has chosen nothing.
                let told = if here.compresses() { here } else { Mode::Off };
                let there = negotiate(other, Some(told.as_str())).unwrap();
                assert_eq!(here.compresses(), there.compresses(), "{one} with {other}");
            }
        }
    }

    #[test]
    fn the_answer_is_the_peers_table() {
        let check = |own: Mode, remote: Option<&str>, expected: Mode| {
            assert_eq!(negotiate(own, remote), Ok(expected), "{own} with {remote:?}");
        };
        check(Mode::Off, Some("s2_best"), Mode::Off);
        check(Mode::NotSupported, Some("s2_best"), Mode::Off);
        check(Mode::Fast, None, Mode::Off);
        check(Mode::Fast, Some("off"), Mode::Off);
        check(Mode::Fast, Some("accept"), Mode::Fast);
        check(Mode::Fast, Some("s2_best"), Mode::Fast);
        check(Mode::Auto, Some("accept"), Mode::Auto);
        check(Mode::Accept, Some("accept"), Mode::Off);
        check(Mode::Accept, Some("s2_auto"), Mode::Fast);
        check(Mode::Accept, Some("s2_better"), Mode::Better);
        check(Mode::Accept, Some("s2_uncompressed"), Mode::Uncompressed);
    }

    #[test]
    fn a_mode_that_there_is_not_is_refused_by_name() {
        let error = negotiate(Mode::Fast, Some("zstd")).unwrap_err();
        assert_eq!(error.to_string(), "unsupported route compression mode \"zstd\"");
    }
}
