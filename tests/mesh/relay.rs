//! A TCP relay between two nodes.
