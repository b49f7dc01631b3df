//! What one shard counts about itself.
//!
//! Plain numbers, written by the shard's own thread and copied out when somebody asks; nothing here
//! is shared. Every field only grows, so that a rate is the difference of two readings.

/// Makes the struct, its `merge` and its `each` from one list, so that a new counter cannot be
/// forgotten in one of them.
macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// The counters of one shard, or of several after [`merge`](Self::merge).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: u64,)+
        }

        impl Counters {
            /// Adds what another shard counted.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }

            /// Calls `take` with each counter's name, what it counts, and its value.
            pub fn each(&self, mut take: impl FnMut(&'static str, &'static str, u64)) {
                $(take(stringify!($name), concat!($($help),+).trim(), self.$name);)+
            }
        }
    };
}

counters! {
    /// Messages received from all peers.
    in_msgs,
    /// Payload bytes received from all peers, headers included.
    in_bytes,
    /// Messages received from clients.
    in_client_msgs,
    /// Payload bytes received from clients, headers included.
    in_client_bytes,
    /// Messages sent to all peers.
    out_msgs,
    /// Payload bytes sent to all peers, headers included.
    out_bytes,
    /// Messages sent to clients.
    out_client_msgs,
    /// Payload bytes sent to clients, headers included.
    out_client_bytes,
    /// Connections accepted since the start.
    total_connections,
    /// Connections to other servers since the start.
    total_routes,
    /// Clients closed as slow consumers.
    slow_consumers_clients,
    /// Routes closed as slow consumers.
    slow_consumers_routes,
    /// Gateways closed as slow consumers.
    slow_consumers_gateways,
    /// Leaf nodes closed as slow consumers.
    slow_consumers_leafs,
    /// Clients closed because they did not answer PING.
    stale_clients,
    /// Routes that did not answer a client's barrier in time.
    barrier_timeouts,
    /// Routes closed because they did not answer PING.
    stale_routes,
    /// Subjects that other servers wanted when their route was lost, kept for when it comes back.
    interest_kept,
    /// Subjects of those that were in force again without being announced.
    interest_restored,
    /// Subjects announced to other servers as part of everything that is wanted here.
    interest_announced,
    /// Gateways closed because they did not answer PING.
    stale_gateways,
    /// Leaf nodes closed because they did not answer PING.
    stale_leafs,
    /// Times a publisher was held because all its recipients were slow.
    stalled_clients,
    /// Messages matched against the subscriptions of this shard.
    routed_msgs,
    /// Messages that reached no subscription.
    unrouted_msgs,
    /// Times messages for the server itself, or news of its clients, were dropped: too many waited.
    unheard,
    /// Messages handed to other shards.
    mailbox_out_msgs,
    /// Messages taken from other shards.
    mailbox_in_msgs,
    /// Turns of the ring.
    turns,
    /// Waits that polling ended before a sleep.
    spins,
    /// Waits that slept.
    sleeps,
    /// Times spinning was given up because the core is shared.
    spin_backoffs,
    /// Times the kernel was entered, to hand something over, to look, or to sleep.
    enters,
    /// Sends given to the ring.
    sends,
    /// Sends that the socket took only in part.
    short_sends,
    /// Zero-copy sends.
    zero_copy_sends,
    /// Zero-copy sends that the kernel copied after all.
    zero_copy_copied,
    /// Receives armed again after they ended without an error.
    receive_rearms,
    /// Receives that ended because all provided buffers were taken (ENOBUFS).
    receive_no_buffers,
    /// Accepts that ended with an error.
    accept_errors,
    /// Authentication attempts refused.
    auth_errors,
}

impl Counters {
    /// Slow consumers of every kind.
    #[must_use]
    pub const fn slow_consumers(&self) -> u64 {
        self.slow_consumers_clients
            + self.slow_consumers_routes
            + self.slow_consumers_gateways
            + self.slow_consumers_leafs
    }

    /// Stale connections of every kind.
    #[must_use]
    pub const fn stale_connections(&self) -> u64 {
        self.stale_clients + self.stale_routes + self.stale_gateways + self.stale_leafs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_every_counter() {
        let mut sum = Counters {
            in_msgs: 1,
            slow_consumers_routes: 2,
            turns: u64::MAX,
            ..Counters::default()
        };
        sum.merge(&Counters { in_msgs: 4, slow_consumers_clients: 3, turns: 1, ..sum });
        assert_eq!((sum.in_msgs, sum.slow_consumers(), sum.turns), (5, 7, u64::MAX));
    }

    #[test]
    fn each_names_every_counter_once_with_its_help() {
        let mut names = Vec::new();
        Counters { stale_leafs: 7, ..Counters::default() }.each(|name, help, value| {
            assert!(help.ends_with('.'), "{name}: {help:?}");
            assert_eq!(value, if name == "stale_leafs" { 7 } else { 0 }, "{name}");
            names.push(name);
        });
        assert_eq!(names.len() * size_of::<u64>(), size_of::<Counters>());
    }
}
