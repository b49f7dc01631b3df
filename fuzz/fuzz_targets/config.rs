//! A configuration file is read or refused, and a comment behind it changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh::config::load_text;

fuzz_target!(|text: &[u8]| match load_text(text) {
    Ok(loaded) => {
        let commented = [text, b"\n# more\n"].concat();
        let again = load_text(&commented).expect("a comment is no mistake");
        assert_eq!(again.digest, loaded.digest);
    }
    Err(complaint) => assert!(!complaint.is_empty()),
});
