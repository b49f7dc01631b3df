//! sublist
