//! What all servers of a cluster compute alike from a name, without asking each other.

use sha2::{Digest, Sha256};

/// Which connection of a pool carries an account: FNV-1a of its name, modulo the size of the pool.
///
/// A pool of none or one has the index 0 only.
#[inline]
pub fn pool_index(account: &[u8], pool_size: u16) -> u16 {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let hash = account
        .iter()
        .fold(OFFSET_BASIS, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME));
    let index = hash.checked_rem(u32::from(pool_size)).unwrap_or(0);
    // The remainder is below a number of 16 bits.
    u16::try_from(index).unwrap_or(0)
}

/// The short name of a server in the subjects of the system account and of JetStream.
///
/// Each of the first eight bytes of the SHA-256 of its name chooses one of 62 letters and digits.
pub fn node_hash(server_name: &str) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const LEN: usize = 8;
    let digest = Sha256::digest(server_name.as_bytes());
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    digest.iter().take(LEN).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_pool(account: &str, expected: [u16; 5]) {
        let found = [2, 3, 4, 5, 8].map(|size| pool_index(account.as_bytes(), size));
        assert_eq!(found, expected, "account {account:?}");
    }

    #[test]
    fn an_account_has_the_place_in_the_pool_that_other_servers_give_it() {
        check_pool("$G", [0, 2, 0, 3, 4]);
        check_pool("$SYS", [0, 0, 0, 0, 0]);
        check_pool("A", [0, 0, 0, 2, 4]);
        check_pool("B", [1, 0, 1, 4, 5]);
        check_pool("C", [0, 1, 2, 0, 2]);
        check_pool("D", [1, 0, 3, 0, 3]);
        check_pool("ACC1", [1, 2, 1, 2, 1]);
        check_pool("FOO", [1, 0, 3, 2, 7]);
        check_pool("JS", [0, 0, 2, 2, 2]);
        check_pool("SYS", [0, 0, 2, 3, 6]);
        check_pool("APP", [0, 1, 0, 4, 4]);
        check_pool("tenant-a", [1, 0, 3, 1, 3]);
        check_pool("orders", [0, 2, 0, 0, 4]);
        check_pool("\u{fc}n\u{ef}", [0, 2, 2, 1, 6]);
        check_pool("ABDVGYVHCUR25KC4PTJVYKW6ZNTWAE22CWTHD4SIC6D6FFODWJHJ4YBM", [0, 1, 0, 1, 0]);
    }

    #[test]
    fn a_pool_of_none_or_one_has_one_place() {
        for size in [0, 1] {
            assert_eq!(pool_index(b"$G", size), 0, "pool of {size}");
        }
        assert_eq!(pool_index(b"$G", u16::MAX), 56_408, "0x7abc619c modulo 65,535");
    }

    #[test]
    fn a_server_has_the_hash_that_other_servers_call_it_by() {
        for (name, hash) in [
            ("A", "NUmM6cRx"),
            ("B", "b2oh2L6w"),
            ("C", "jZ6RvVRH"),
            ("X", "Dglu96W1"),
            ("n1", "fjFyEjc1"),
        ] {
            assert_eq!(node_hash(name), hash, "server {name:?}");
        }
    }
}
