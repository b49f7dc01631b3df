//! The layers of one connection.

use std::net::IpAddr;
use std::time::Duration;

use crate::close::CloseReason;

use super::s2::{Decoder, Encoder, Progress, S2Error};
use super::{Level, Mode, level_for_rtt};

/// Certificates for connections to other servers.
#[derive(Debug)]
pub enum RouteTls {}

/// Plain bytes that a compressed stream may bring before its peer is known.
const UNTRUSTED_BYTES_MAX: usize = 1 << 20;

/// See the module's documentation.
#[derive(Default)]
pub struct Transport {
    s2: Option<Box<S2>>,
}

struct S2 {
    decoder: Decoder,
    encoder: Encoder,
    level: Level,
    mode: Mode,
    thresholds: Vec<Duration>,
}

impl Transport {
    /// A connection that this server made.
    ///
    /// # Errors
    /// None.
    pub fn connect_tls(tls: &RouteTls, _name: Option<&str>, _ip: IpAddr) -> Result<Self, S2Error> {
        match *tls {}
    }

    /// A connection that came in.
    ///
    /// # Errors
    /// None.
    pub fn accept_tls(tls: &RouteTls) -> Result<Self, S2Error> {
        match *tls {}
    }

    /// Both directions are compressed from here on. The first round trip is a guess.
    pub fn compress(&mut self, mode: Mode, thresholds: &[Duration], rtt: Duration) {
        let mut s2 = S2 {
            decoder: Decoder::new(UNTRUSTED_BYTES_MAX),
            encoder: Encoder::new(),
            level: Level::Fast,
            mode,
            thresholds: thresholds.to_vec(),
        };
        s2.set_rtt(rtt);
        self.s2 = Some(Box::new(s2));
    }

    /// The peer is known: its stream may bring any number of bytes.
    pub fn is_trusted(&mut self) {
        if let Some(s2) = &mut self.s2 {
            s2.decoder.set_budget(usize::MAX);
        }
    }

    /// A round trip was measured.
    pub fn set_rtt(&mut self, rtt: Duration) {
        if let Some(s2) = &mut self.s2 {
            s2.set_rtt(rtt);
        }
    }

    /// Opens what came in.
    ///
    /// # Errors
    /// When the peer breaks the rules of a layer.
    pub fn open(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> Result<Progress, S2Error> {
        match &mut self.s2 {
            Some(s2) => s2.decoder.open(wire, plain),
            None => {
                plain.extend_from_slice(wire);
                Ok(Progress::Done)
            }
        }
    }

    /// Opens what had already passed the lower layers when compression began.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_rest(&mut self, rest: &[u8], plain: &mut Vec<u8>) -> Result<(), S2Error> {
        if let Some(s2) = &mut self.s2 {
            let mut wire = rest;
            while s2.decoder.open(wire, plain)? == Progress::Paused {
                wire = &[];
            }
        }
        Ok(())
    }

    /// Seals what is to go out.
    pub fn seal<'a>(&mut self, plain: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        match &mut self.s2 {
            Some(s2) => s2.encoder.seal(s2.level, plain, out),
            None => plain.into_iter().for_each(|slice| out.extend_from_slice(slice)),
        }
    }

    /// Whether a layer has something to say of its own.
    #[must_use]
    pub const fn wants_write(&self) -> bool {
        false
    }

    /// Takes what a layer has to say.
    pub fn take_wire(&mut self, _out: &mut Vec<u8>) {}

    /// Why the connection ends when opening failed.
    #[must_use]
    pub const fn failure(&self) -> CloseReason {
        CloseReason::ReadError
    }

    /// The level at which this end compresses.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.s2.as_ref().map(|s2| s2.level)
    }
}

impl S2 {
    fn set_rtt(&mut self, rtt: Duration) {
        self.level = match self.mode {
            Mode::Auto => level_for_rtt(rtt, &self.thresholds),
            Mode::Uncompressed => Level::Uncompressed,
            Mode::Better => Level::Better,
            Mode::Best => Level::Best,
            Mode::Fast | Mode::Off | Mode::NotSupported | Mode::Accept => Level::Fast,
        };
    }
}
