//! A configuration file is read or refused, and a comment above it changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh::config::load_text;

fuzz_target!(|text: &[u8]| {
    let commented = [b"# more\n", text].concat();
    match (load_text(text), load_text(&commented)) {
        (Ok(one), Ok(other)) => assert_eq!(one.digest, other.digest),
        (Err(one), Err(other)) => assert!(!one.is_empty() && !other.is_empty()),
        (one, other) => panic!("{one:?}, but with a comment above {other:?}"),
    }
});
