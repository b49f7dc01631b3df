//! What stands between one connection's plain bytes and its socket: nothing, S2, TLS, or S2 in TLS.

use std::fmt;
use std::time::Duration;

use ring::Time;

use super::s2::{Decoder, Encoder, Progress, S2Error};
use super::tls::{Tls, TlsError};
use super::{Level, Worth};

/// Tables and buffers that all connections of a shard use in turn. They keep nothing between calls
/// but their room, so a thousand connections need no more of them than one.
#[derive(Default)]
pub struct Scratch {
    encoder: Encoder,
    /// What TLS has opened and S2 has not, or what S2 or gathering has made for TLS.
    between: Vec<u8>,
}

/// Room that is kept between calls: what a turn seals at most.
const BETWEEN_CAPACITY_MAX: usize = 512 << 10;

/// No more than this is expected of what comes next, however well it went so far.
const SHRINKS_MAX: usize = 16;

/// One connection's way between plain bytes and the wire.
#[derive(Default)]
pub struct Transport {
    tls: Option<Box<Tls>>,
    s2: Option<Box<S2>>,
    counts: TransportCounts,
}

struct S2 {
    decoder: Decoder,
    /// The level that is wanted.
    level: Level,
    /// Where a level must be worth its time.
    worth: Option<Worth>,
}

impl S2 {
    fn level(&self) -> Level {
        self.worth.as_ref().map_or(self.level, |worth| worth.level(self.level))
    }
}

/// Bytes on both sides of a transport, so that one can tell what compression is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounts {
    /// Bytes that arrived.
    pub wire_in: u64,
    /// Plain bytes that came of them.
    pub plain_in: u64,
    /// Plain bytes that were sealed.
    pub plain_out: u64,
    /// Bytes that they left as, a handshake's included.
    pub wire_out: u64,
}

/// Why a connection's bytes can be understood no longer.
#[derive(Clone, Debug, PartialEq)]
pub enum TransportError {
    /// TLS.
    Tls(TlsError),
    /// S2.
    S2(S2Error),
}

impl Transport {
    /// A connection whose wire is plain.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// A connection under TLS, from its first byte on.
    #[must_use]
    pub fn tls(tls: Tls) -> Self {
        Self { tls: Some(Box::new(tls)), ..Self::default() }
    }

    /// Whether bytes go through as they are, so that there is no need to copy them.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.s2.is_none()
    }

    /// Whether the connection is under TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The level of what is sent; nothing while it is not compressed.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.s2.as_ref().map(|s2| s2.level())
    }

    /// Whether TLS has not agreed with the peer yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether there are bytes to leave that nobody sealed: [`take_wire`](Self::take_wire) gives them.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Appends what TLS itself has to say, also after an error: the alert that tells the peer why.
    pub fn take_wire(&mut self, wire: &mut Vec<u8>) {
        if let Some(tls) = &mut self.tls {
            let before = wire.len();
            tls.take_wire(wire);
            self.counts.wire_out += (wire.len() - before) as u64;
        }
    }

    /// How many plain bytes a byte that leaves has stood for so far, at least one.
    #[must_use]
    pub fn shrinks_to_one_in(&self) -> usize {
        let ratio = self.counts.plain_out.checked_div(self.counts.wire_out).unwrap_or(1);
        usize::try_from(ratio).unwrap_or(1).clamp(1, SHRINKS_MAX)
    }

    /// What went through so far.
    #[must_use]
    pub const fn counts(&self) -> TransportCounts {
        self.counts
    }

    /// Appends the plain bytes of what arrived.
    ///
    /// When it pauses, the caller takes the plain bytes and calls again with no new ones, until it is
    /// done: so little wire can become so much that it must come in steps.
    ///
    /// # Errors
    /// When the peer's bytes are wrong. The connection is of no use then.
    pub fn open(
        &mut self,
        scratch: &mut Scratch,
        wire: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Progress, TransportError> {
        self.counts.wire_in += wire.len() as u64;
        let before = plain.len();
        let progress = match (&mut self.tls, &mut self.s2) {
            (None, None) => {
                plain.extend_from_slice(wire);
                Progress::Done
            }
            (Some(tls), None) => {
                tls.open(wire, plain)?;
                Progress::Done
            }
            (None, Some(s2)) => s2.decoder.open(wire, plain)?,
            (Some(tls), Some(s2)) => {
                scratch.between.clear();
                tls.open(wire, &mut scratch.between)?;
                s2.decoder.open(&scratch.between, plain)?
            }
        };
        self.counts.plain_in += (plain.len() - before) as u64;
        Ok(progress)
    }

    /// Keeps what arrived while [`open`](Self::open) has paused; only S2 pauses.
    ///
    /// # Errors
    /// When the peer's bytes are wrong. The connection is of no use then.
    pub fn keep(&mut self, scratch: &mut Scratch, wire: &[u8]) -> Result<(), TransportError> {
        self.counts.wire_in += wire.len() as u64;
        match (&mut self.tls, &mut self.s2) {
            (None, Some(s2)) => s2.decoder.keep(wire),
            (Some(tls), Some(s2)) => {
                scratch.between.clear();
                tls.open(wire, &mut scratch.between)?;
                s2.decoder.keep(&scratch.between);
            }
            (_, None) => debug_assert!(false, "nothing pauses"),
        }
        Ok(())
    }

    /// Bytes that arrived and are not opened yet.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.s2.as_ref().map_or(0, |s2| s2.decoder.kept_bytes())
    }

    /// Appends what these bytes leave as; nothing may be sealed after it and sent before it.
    ///
    /// # Errors
    /// When too much waits for the end of a TLS handshake.
    pub fn seal<'a>(
        &mut self,
        scratch: &mut Scratch,
        plain: impl IntoIterator<Item = &'a [u8]>,
        wire: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        let before = wire.len();
        let mut plain_out = 0;
        let plain = plain.into_iter().inspect(|slice| plain_out += slice.len() as u64);
        match (&mut self.tls, &self.s2) {
            (None, None) => plain.for_each(|slice| wire.extend_from_slice(slice)),
            (None, Some(s2)) => scratch.encoder.seal(s2.level(), plain, wire),
            (Some(tls), s2) => {
                scratch.between.clear();
                match s2 {
                    Some(s2) => scratch.encoder.seal(s2.level(), plain, &mut scratch.between),
                    // One long run of bytes makes fewer records than many slices.
                    None => plain.for_each(|slice| scratch.between.extend_from_slice(slice)),
                }
                tls.seal(&scratch.between, wire)?;
                scratch.between.clear();
                scratch.between.shrink_to(BETWEEN_CAPACITY_MAX);
            }
        }
        self.counts.plain_out += plain_out;
        self.counts.wire_out += (wire.len() - before) as u64;
        Ok(())
    }

    /// Switches S2 on: what is sealed from now on leaves compressed, and what is opened from now on
    /// arrives so.
    ///
    /// `behind` is what was opened already and stands behind the last plain line: it belongs to the
    /// compressed stream, and its plain bytes are appended. At most `byte_budget` plain bytes may
    /// come until [`set_budget`](Self::set_budget).
    ///
    /// # Errors
    /// When what stands behind is no S2.
    pub fn compress(
        &mut self,
        level: Level,
        byte_budget: usize,
        behind: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Progress, TransportError> {
        let mut s2 = S2 { decoder: Decoder::new(byte_budget), level, worth: None };
        let before = plain.len();
        let progress = s2.decoder.open(behind, plain)?;
        self.counts.plain_in += (plain.len() - before) as u64;
        // They were counted as plain when they were opened.
        self.counts.plain_in -= (behind.len() as u64).min(self.counts.plain_in);
        self.s2 = Some(Box::new(s2));
        Ok(progress)
    }

    /// From the next flush on, another level, or a lower one where that `must_pay` and does not. Without
    /// compression nothing happens.
    pub fn set_level(&mut self, level: Level, must_pay: bool) {
        if let Some(s2) = &mut self.s2 {
            s2.level = level;
            if must_pay != s2.worth.is_some() {
                s2.worth = must_pay.then(Worth::default);
            }
        }
    }

    /// What was sealed since `before` took so long.
    pub fn weigh(&mut self, now: Time, before: TransportCounts, took: Duration) {
        let (plain, wire) =
            (self.counts.plain_out - before.plain_out, self.counts.wire_out - before.wire_out);
        if let Some(s2) = &mut self.s2
            && let Some(worth) = &mut s2.worth
        {
            worth.note(now, s2.level, plain, wire, took);
        }
    }

    /// How many plain bytes may come out of compressed ones from now on; `usize::MAX` for a peer
    /// that has proved who it is.
    pub fn set_budget(&mut self, byte_budget: usize) {
        if let Some(s2) = &mut self.s2 {
            s2.decoder.set_budget(byte_budget);
        }
    }

    /// Appends TLS's farewell, if there is TLS.
    pub fn close(&mut self, wire: &mut Vec<u8>) {
        if let Some(tls) = &mut self.tls {
            tls.close(wire);
        }
    }
}

impl From<TlsError> for TransportError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<S2Error> for TransportError {
    fn from(error: S2Error) -> Self {
        Self::S2(error)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::S2(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransportError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tls::tests::Authority;
    use crate::transport::tls::{TlsAcceptor, TlsConnector};

    /// Two servers' ends of one route.
    struct Route {
        scratch: Scratch,
        near: Transport,
        far: Transport,
    }

    impl Route {
        fn plain() -> Self {
            let (near, far) = (Transport::plain(), Transport::plain());
            Self { scratch: Scratch::default(), near, far }
        }

        fn tls() -> Self {
            let authority = Authority::new();
            let options = authority.options(&["a.test"]);
            let near = Tls::connect(&TlsConnector::new(&options).unwrap(), "a.test").unwrap();
            let far = Tls::accept(&TlsAcceptor::new(&options).unwrap()).unwrap();
            let (near, far) = (Transport::tls(near), Transport::tls(far));
            let mut route = Self { scratch: Scratch::default(), near, far };
            while route.near.wants_write() || route.far.wants_write() {
                let (mut there, mut back, mut plain) = (Vec::new(), Vec::new(), Vec::new());
                route.near.take_wire(&mut there);
                let opened = route.far.open(&mut route.scratch, &there, &mut plain);
                assert_eq!(opened, Ok(Progress::Done));
                route.far.take_wire(&mut back);
                let opened = route.near.open(&mut route.scratch, &back, &mut plain);
                assert_eq!(opened, Ok(Progress::Done));
                assert!(plain.is_empty());
            }
            assert!(!route.near.is_handshaking() && !route.far.is_handshaking());
            route
        }

        /// What the near end seals, as it leaves.
        fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
            let mut wire = Vec::new();
            // Slices of three bytes, as a queue of small messages hands them out.
            self.near.seal(&mut self.scratch, plain.chunks(3), &mut wire).unwrap();
            wire
        }

        fn open(&mut self, wire: &[u8]) -> Result<Vec<u8>, TransportError> {
            let mut plain = Vec::new();
            let mut progress = self.far.open(&mut self.scratch, wire, &mut plain)?;
            while progress == Progress::Paused {
                progress = self.far.open(&mut self.scratch, &[], &mut plain)?;
            }
            Ok(plain)
        }
    }

    /// Switches one end to S2 and returns the plain bytes of what stood behind.
    fn switch(end: &mut Transport, level: Level, budget: usize, behind: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        assert_eq!(end.compress(level, budget, behind, &mut plain), Ok(Progress::Done));
        plain
    }

    #[test]
    fn the_reader_switches_at_the_byte_behind_the_last_plain_line() {
        for mut route in [Route::plain(), Route::tls()] {
            let info = b"INFO {\"compression\":\"s2_fast\"}\r\n";
            let mut wire = route.seal(info);
            switch(&mut route.near, Level::Fast, usize::MAX, b"");
            assert_eq!(route.near.level(), Some(Level::Fast));
            wire.extend(route.seal(b"PING\r\n"));

            // All of it arrives in one read, and the reader learns from the line that it must switch.
            let opened = route.open(&wire).unwrap();
            let (line, behind) = opened.split_at(info.len());
            assert_eq!(line, info);
            let plain = switch(&mut route.far, Level::Fast, usize::MAX, behind);
            assert_eq!(plain, b"PING\r\n");
            assert_eq!(route.far.counts().plain_in, info.len() as u64 + 6);

            // A flush that is cut inside a chunk.
            let wire = route.seal(b"PONG\r\n");
            let (first, second) = wire.split_at(wire.len() / 2);
            let mut plain = route.open(first).unwrap();
            plain.extend(route.open(second).unwrap());
            assert_eq!(plain, b"PONG\r\n");
        }
    }

    #[test]
    fn plain_text_after_the_switch_is_refused() {
        let mut route = Route::plain();
        let switched = route.far.compress(Level::Fast, usize::MAX, b"PING\r\n", &mut Vec::new());
        assert_eq!(switched, Err(TransportError::S2(S2Error::NoIdentifier)));
    }

    #[test]
    fn a_level_changes_from_one_flush_to_the_next() {
        for mut route in [Route::plain(), Route::tls()] {
            switch(&mut route.near, Level::Uncompressed, usize::MAX, b"");
            switch(&mut route.far, Level::Best, usize::MAX, b"");
            let text = b"RMSG $G orders.eu 5\r\nhello\r\n".repeat(2000);
            let mut lengths = Vec::new();
            for level in [Level::Uncompressed, Level::Fast, Level::Best] {
                route.near.set_level(level, false);
                let wire = route.seal(&text);
                lengths.push(wire.len());
                assert!(route.open(&wire).as_ref() == Ok(&text), "{level:?}");
            }
            assert!(lengths[0] > text.len() && lengths[1] * 50 < text.len(), "{lengths:?}");
            let (near, far) = (route.near.counts(), route.far.counts());
            assert_eq!(near.plain_out, 3 * text.len() as u64);
            assert_eq!((near.plain_out, near.wire_out), (far.plain_in, far.wire_in));
        }
    }

    #[test]
    fn an_unproven_peer_has_a_budget() {
        let mut route = Route::tls();
        switch(&mut route.near, Level::Fast, usize::MAX, b"");
        switch(&mut route.far, Level::Fast, 1000, b"");
        let wire = route.seal(&[b'x'; 900]);
        assert_eq!(route.open(&wire).map(|plain| plain.len()), Ok(900));
        let wire = route.seal(&[b'x'; 900]);
        let over = TransportError::S2(S2Error::OverBudget { left: 100 });
        assert_eq!(route.open(&wire), Err(over));
    }
}
