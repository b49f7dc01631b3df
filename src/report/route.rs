//! What a shard reports of its connections to other servers.

use std::net::SocketAddr;
use std::time::Duration;

use ring::Time;

/// One registered connection to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReport {
    /// Its number, unique in the server among all connections.
    pub rid: u64,
    /// The other server's id.
    pub remote_id: String,
    /// Its name.
    pub remote_name: String,
    /// This server dialled.
    pub did_solicit: bool,
    /// The connection is one that the configuration asks for.
    pub is_configured: bool,
    /// The other server is one of our kind.
    pub is_ringmesh: bool,
    /// The address at the other end.
    pub peer: SocketAddr,
    /// When the connection was made.
    pub start: Time,
    /// When interest or messages last came in.
    pub last_activity: Time,
    /// The last measured round trip; zero when none was measured.
    pub rtt: Duration,
    /// Bytes queued for it.
    pub pending_bytes: u64,
    /// Messages that came in.
    pub in_msgs: u64,
    /// Messages that were queued for it.
    pub out_msgs: u64,
    /// Bytes of headers and payload that came in.
    pub in_bytes: u64,
    /// Bytes of headers and payload that were queued for it.
    pub out_bytes: u64,
    /// How much the other server wants over it.
    pub subscriptions: u32,
    /// The account that has it for itself.
    pub account: Option<String>,
    /// Its place in the pool; none for an account's own, and where there are no pools.
    pub pool_index: Option<u16>,
    /// How what is sent is compressed now, in the words of `/routez`.
    pub compression: &'static str,
    /// Bytes on both sides of what stands between it and its socket.
    pub wire: WireCounts,
    /// What sealing its bytes has cost lately.
    pub sealing: Sealing,
}

/// Bytes before and after compression and encryption; all zero where there is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Bytes that arrived.
    pub wire_in: u64,
    /// Plain bytes that came of them.
    pub plain_in: u64,
    /// Plain bytes that were sealed.
    pub plain_out: u64,
    /// Bytes that they left as.
    pub wire_out: u64,
}

/// What sealing costs. The sums are of the last batches, older ones counting less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealing {
    /// How long it took.
    pub nanos: u64,
    /// Plain bytes.
    pub bytes: u64,
    /// How often bytes were sealed together, and left together.
    pub batches: u64,
}

impl Sealing {
    /// So many batches count in full; then all that came before counts half.
    const BATCHES: u64 = 256;

    /// Some bytes were sealed together.
    pub fn note(&mut self, bytes: usize, took: Duration) {
        if self.batches >= Self::BATCHES {
            self.nanos /= 2;
            self.bytes /= 2;
            self.batches /= 2;
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos = self.nanos.saturating_add(nanos);
        self.bytes += bytes as u64;
        self.batches += 1;
    }

    /// How much later a batch leaves because it is sealed.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_nanos(self.nanos.checked_div(self.batches).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sealing_costs_now_outweighs_what_it_cost_long_ago() {
        let mut sealing = Sealing::default();
        assert_eq!(sealing.delay(), Duration::ZERO);
        for _ in 0..1000 {
            sealing.note(1000, Duration::from_micros(100));
        }
        assert_eq!(sealing.delay(), Duration::from_micros(100));
        assert_eq!(sealing.nanos / sealing.bytes, 100);
        for _ in 0..2000 {
            sealing.note(1000, Duration::from_micros(10));
        }
        assert!(sealing.delay() < Duration::from_micros(12), "{sealing:?}");
        assert!(sealing.batches <= Sealing::BATCHES);
    }
}
