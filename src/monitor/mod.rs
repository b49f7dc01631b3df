//! What the server tells about itself: the monitoring endpoints over HTTP.
//!
//! Everything here runs on the control thread. Numbers come from the shards as [`model::ShardReport`]s
//! through a source; what does not change while the server runs is in [`model::ServerFacts`].
//! The monitor knows no shard, no mailbox and no ring.


