//! Network namespaces: separate networks on one machine, joined by virtual cables.

use std::process::Command;

/// A network namespace; removed when dropped.
pub(crate) struct Space {
    name: String,
}

impl Space {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Does something with sockets in the namespace; they stay there.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        // The thread is in the namespace, not the process, and ends with what it does there.
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = std::fs::File::open(format!("/var/run/netns/{}", self.name)).unwrap();
                let kind = rustix::thread::LinkNameSpaceType::Network;
                use std::os::fd::AsFd;
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
                act()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
