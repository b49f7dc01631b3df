//! Bounds of the wire: what a client may send before it is refused.
//!
//! Only numbers live here, each with the reason for its value. Configuration may change the ones
//! called `DEFAULT`; the others are part of the protocol.

/// The longest argument list of a control line, in bytes, unless `max_control_line` says otherwise.
pub const MAX_CONTROL_LINE_DEFAULT: usize = 4096;

/// The largest message (headers and payload), in bytes, unless `max_payload` says otherwise.
pub const MAX_PAYLOAD_DEFAULT: u32 = 1024 * 1024;

/// Above this `max_payload`, in bytes, the server warns at start: large messages cost latency.
pub const MAX_PAYLOAD_WARN: u32 = 8 * 1024 * 1024;

/// A size on the wire has at most this many digits, leading zeros included.
///
/// So it always fits `u32`, and the parser needs no overflow check.
pub const SIZE_DIGITS_MAX: usize = 9;

/// The longest argument list of a line between servers, in bytes.
///
/// It holds the subject of a client's longest line, an account and a long list of queue groups.
pub const ROUTE_CONTROL_LINE_MAX: usize = 16 * MAX_CONTROL_LINE_DEFAULT;

/// What a control line holds beside its arguments: the longest verb with its separator
/// (`CONNECT `) and the line end.
pub const CONTROL_LINE_FRAME_MAX: usize = 8 + 2;

/// How many bytes a receive buffer must be able to hold so that every control line that
/// `max_control_line` allows can be parsed from it.
pub const fn control_line_bytes_max(max_control_line: usize) -> usize {
    max_control_line.saturating_add(CONTROL_LINE_FRAME_MAX)
}

const _: () = assert!(SIZE_DIGITS_MAX == 9 && 999_999_999_u64 < 1 << 32, "a size fits u32");

/// Bytes of the headers of a 503, for a subject of so many bytes.
#[must_use]
pub const fn no_responders_size(subject_len: usize) -> usize {
    "NATS/1.0 503\r\nNats-Subject: \r\n\r\n".len() + subject_len
}

/// The most bytes of a whole 503, with so many bytes of reply, sid and subject together.
#[must_use]
pub const fn no_responders_len_max(text_len: usize) -> usize {
    64 + no_responders_size(text_len)
}
