//! Network namespaces: separate networks on one machine, joined by virtual cables.
//!
//! They need a kernel that has them, the tools `ip` and `tc`, and the right to use both. A test
//! asks [`available`] first, which says aloud when it has to be skipped.

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::skipped;

/// A network namespace; removed when dropped.
pub(crate) struct Space {
    name: String,
}

/// Names of this process, short enough for an interface.
fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed is enough: only the number's uniqueness counts.
    format!("rm{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a tool; what it says when it fails.
fn run(program: &str, line: &str) -> Result<(), String> {
    let output = Command::new(program).args(line.split_whitespace()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program} {line}: {}", said.trim()))
}

/// Whether this machine lets tests have networks of their own; says so if not.
pub(crate) fn available(what: &str) -> bool {
    let trial = || -> Result<(), String> {
        let (one, other) = (Space::try_new()?, Space::try_new()?);
        Cable::try_new(&one, "10.96.0.1", &other, "10.96.0.2").map(drop)
    };
    trial().inspect_err(|error| skipped(&format!("{what}: no network namespaces: {error}"))).is_ok()
}

impl Space {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::try_new().unwrap())
    }

    fn try_new() -> Result<Self, String> {
        let space = Self { name: fresh_name() };
        run("ip", &format!("netns add {}", space.name))?;
        space.ip("link set lo up")?;
        Ok(space)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn ip(&self, line: &str) -> Result<(), String> {
        run("ip", &format!("-n {} {line}", self.name))
    }

    /// Does something with sockets in the namespace; they stay there.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        // The thread is in the namespace, not the process, and ends with what it does there.
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = std::fs::File::open(format!("/var/run/netns/{}", self.name)).unwrap();
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = run("ip", &format!("netns del {}", self.name));
    }
}

/// A cable between two namespaces, with an address at each end.
pub(crate) struct Cable {
    ends: [(String, String); 2],
}

impl Cable {
    pub(crate) fn new(one: &Space, address: &str, other: &Space, other_address: &str) -> Self {
        Self::try_new(one, address, other, other_address).unwrap()
    }

    fn try_new(one: &Space, address: &str, other: &Space, far: &str) -> Result<Self, String> {
        let names = [fresh_name(), fresh_name()];
        run(
            "ip",
            &format!(
                "link add {} netns {} type veth peer name {} netns {}",
                names[0], one.name, names[1], other.name
            ),
        )?;
        for (name, (space, address)) in names.iter().zip([(one, address), (other, far)]) {
            if !address.is_empty() {
                space.ip(&format!("addr add {address}/24 dev {name}"))?;
            }
            space.ip(&format!("link set {name} up"))?;
        }
        let [near, far] = names;
        Ok(Self { ends: [(one.name.clone(), near), (other.name.clone(), far)] })
    }

    /// Takes the far end's plug out. The near end has lost its carrier and keeps its address.
    pub(crate) fn cut(&self) {
        self.set_far_end("down");
    }

    pub(crate) fn heal(&self) {
        self.set_far_end("up");
    }

    fn set_far_end(&self, state: &str) {
        let (space, name) = &self.ends[1];
        run("ip", &format!("-n {space} link set {name} {state}")).unwrap();
    }

    /// Lets only so much through in each direction; false, said aloud, where the kernel cannot.
    pub(crate) fn limit(&self, megabits: u32) -> bool {
        self.ends.iter().all(|(space, name)| {
            let shape = format!("rate {megabits}mbit burst 64kb latency 50ms");
            let line = format!("netns exec {space} tc qdisc add dev {name} root tbf {shape}");
            run("ip", &line).inspect_err(|error| skipped(&format!("narrow links: {error}"))).is_ok()
        })
    }
}

/// Namespaces on one switch: `10.99.0.1` and so on, each with a cable of its own.
pub(crate) struct Switch {
    pub(crate) spaces: Vec<Arc<Space>>,
    pub(crate) cables: Vec<Cable>,
    _switch: Arc<Space>,
}

impl Switch {
    pub(crate) fn new(count: usize) -> Self {
        let switch = Space::new();
        switch.ip("link add bridge type bridge").unwrap();
        switch.ip("link set bridge up").unwrap();
        let spaces: Vec<_> = (0..count).map(|_| Space::new()).collect();
        let cable = |(index, space): (usize, &Arc<Space>)| {
            let cable = Cable::new(space, &Self::address(index), &switch, "");
            switch.ip(&format!("link set {} master bridge", cable.ends[1].1)).unwrap();
            cable
        };
        let cables = spaces.iter().enumerate().map(cable).collect();
        Self { spaces, cables, _switch: switch }
    }

    pub(crate) fn address(index: usize) -> String {
        format!("10.99.0.{}", index + 1)
    }
}
