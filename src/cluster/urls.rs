//! Where clients may connect: this server's URLs, and those of its peers.

use std::collections::BTreeMap;

/// URLs, each with the number of servers that have it.
#[derive(Debug)]
pub(super) struct ClientUrls {
    own: Vec<String>,
    others: BTreeMap<String, u32>,
}

impl ClientUrls {
    pub(super) fn new(own: Vec<String>) -> Self {
        Self { own, others: BTreeMap::new() }
    }

    /// What clients are told: this server's URLs first.
    pub(super) fn list(&self) -> Vec<String> {
        let others = self.others.keys().filter(|url| !self.own.contains(url));
        self.own.iter().chain(others).cloned().collect()
    }

    /// Returns whether the list has changed.
    pub(super) fn set_own(&mut self, own: Vec<String>) -> bool {
        let before = self.list();
        self.own = own;
        before != self.list()
    }

    /// Returns whether the list has changed.
    pub(super) fn add(&mut self, urls: &[String]) -> bool {
        let before = self.others.len();
        for url in urls {
            *self.others.entry(url.clone()).or_default() += 1;
        }
        before != self.others.len()
    }

    /// Returns whether the list has changed.
    pub(super) fn remove(&mut self, urls: &[String]) -> bool {
        let before = self.others.len();
        for url in urls {
            if let Some(count) = self.others.get_mut(url) {
                *count -= 1;
                if *count == 0 {
                    self.others.remove(url);
                }
            }
        }
        before != self.others.len()
    }
}

/// What is taken of a peer's list: a few, none of them endless.
pub(super) fn usable(urls: &[String]) -> Vec<String> {
    let is_usable = |url: &&String| {
        !url.is_empty() && url.len() <= URL_BYTES_MAX && url.bytes().all(|b| b.is_ascii_graphic())
    };
    urls.iter().filter(is_usable).take(URLS_MAX).cloned().collect()
}

/// As many as a server has addresses, and more.
const URLS_MAX: usize = 64;

/// A host name and a port.
const URL_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_url_stays_as_long_as_one_server_has_it() {
        let mut urls = ClientUrls::new(texts(&["own:1"]));
        assert!(urls.add(&texts(&["a:1", "b:1"])));
        assert!(!urls.add(&texts(&["a:1"])));
        assert_eq!(urls.list(), texts(&["own:1", "a:1", "b:1"]));
        assert!(!urls.remove(&texts(&["a:1"])));
        assert!(urls.remove(&texts(&["a:1", "b:1"])));
        assert!(!urls.remove(&texts(&["b:1"])));
        assert_eq!(urls.list(), texts(&["own:1"]));
        assert!(urls.set_own(texts(&["own:2"])));
    }

    #[test]
    fn a_peers_list_is_cut() {
        let many: Vec<_> = (0..200).map(|n| format!("h:{n}")).collect();
        assert_eq!(usable(&many).len(), URLS_MAX);
        assert_eq!(usable(&texts(&["", "a b:1", &"x".repeat(400), "a:1"])), texts(&["a:1"]));
    }
}
