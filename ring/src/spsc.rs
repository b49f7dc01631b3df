//! A bounded queue between two threads.
