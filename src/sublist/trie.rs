//! The tokens of all filters as a tree.
//!
//! Nodes lie in one slab, and one hash table for the whole tree holds the edges, keyed by parent
//! and token: a node with one child and one with a million cost the same, and an idle leaf is one
//! cache line. `*` and `>` have a place of their own in the node, so a literal token that happens
//! to be a wildcard never finds them.
//!
//! Invariant: every node but the root has a member, a queue group or a child below it.

use hashbrown::HashTable;
use slab::Slab;

use super::hashing::{self, Hashing, NIL, slot, spread};
use super::members::Members;

/// The tree.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Slab<Node>,
    edges: HashTable<Edge>,
}

/// One token of one or more filters.
#[derive(Debug)]
pub(super) struct Node {
    token: Token,
    /// Who subscribed by the filter that ends here, without a queue group.
    pub(super) plain: Members,
    /// The first of the queue groups of the filter that ends here.
    pub(super) first_group: u32,
    parent: u32,
    literals: u32,
    any_one: u32,
    any_rest: u32,
}

/// What a walk over the tree needs besides the tree: buffers that keep their capacity.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pieces: Vec<Piece>,
    /// Nodes to visit, and how many tokens led there.
    open: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Edge {
    hash: u32,
    child: u32,
}

/// A token of the subject.
#[derive(Debug)]
struct Piece {
    hash: u64,
    start: u32,
    end: u32,
}

/// The text of a token; short ones, among them the 22 letters of an inbox, lie in the node.
#[derive(Debug)]
enum Token {
    Short { len: u8, bytes: [u8; TOKEN_INLINE] },
    Long(Box<[u8]>),
}

impl Trie {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(NIL, b""));
        debug_assert_eq!(slot(root), ROOT);
        Self { nodes, edges: HashTable::new() }
    }

    pub(super) fn find(&self, hashing: &Hashing, filter: &[u8]) -> Option<u32> {
        let mut node = ROOT;
        for token in tokens(filter) {
            node = self.step(hashing, node, token)?;
        }
        Some(node)
    }

    pub(super) fn find_or_add(&mut self, hashing: &Hashing, filter: &[u8]) -> u32 {
        let mut node = ROOT;
        for token in tokens(filter) {
            node = match self.step(hashing, node, token) {
                Some(child) => child,
                None => self.add(hashing, node, token),
            };
        }
        node
    }

    /// Frees `node` and those above it that nothing holds any more.
    pub(super) fn prune(&mut self, hashing: &Hashing, mut node: u32) {
        while node != ROOT && self.node(node).is_bare() {
            let parent = self.node(node).parent;
            self.unlink(hashing, parent, node);
            self.nodes.remove(node as usize);
            node = parent;
        }
        self.shrink();
    }

    pub(super) fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// How many nodes there are, not counting the root.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert!(self.edges.len() < self.nodes.len(), "each node but the root has at most one edge");
        self.nodes.len() - 1
    }

    /// What the tree itself takes, without long tokens and crowds.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Option<Node>>() + self.edges.allocation_size()
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn step(&self, hashing: &Hashing, node: u32, token: &[u8]) -> Option<u32> {
        let child = match token {
            b"*" => self.node(node).any_one,
            b">" => self.node(node).any_rest,
            literal => return self.literal(node, literal, hashing.bytes(literal)),
        };
        (child != NIL).then_some(child)
    }

    fn literal(&self, parent: u32, token: &[u8], token_hash: u64) -> Option<u32> {
        let hash = hashing::owned(parent, token_hash);
        let is_it = |edge: &Edge| {
            edge.hash == hash && {
                let child = self.node(edge.child);
                child.parent == parent && child.token.as_slice() == token
            }
        };
        self.edges.find(spread(hash), is_it).map(|edge| edge.child)
    }

    fn add(&mut self, hashing: &Hashing, parent: u32, token: &[u8]) -> u32 {
        let child = slot(self.nodes.insert(Node::new(parent, token)));
        match token {
            b"*" => self.node_mut(parent).any_one = child,
            b">" => self.node_mut(parent).any_rest = child,
            literal => {
                let hash = hashing::owned(parent, hashing.bytes(literal));
                self.edges.insert_unique(spread(hash), Edge { hash, child }, Edge::spread);
                self.node_mut(parent).literals += 1;
            }
        }
        child
    }

    fn unlink(&mut self, hashing: &Hashing, parent: u32, child: u32) {
        match self.node(child).token.as_slice() {
            b"*" => self.node_mut(parent).any_one = NIL,
            b">" => self.node_mut(parent).any_rest = NIL,
            literal => {
                let hash = hashing::owned(parent, hashing.bytes(literal));
                self.edges
                    .find_entry(spread(hash), |edge| edge.child == child)
                    .expect("every literal node has an edge")
                    .remove();
                self.node_mut(parent).literals -= 1;
            }
        }
    }

    /// Gives memory back after a crowd has left.
    fn shrink(&mut self) {
        if self.nodes.len() == 1 && self.nodes.capacity() > NODES_KEPT {
            *self = Self::new();
        } else if self.edges.capacity() > NODES_KEPT && self.edges.len() < self.edges.capacity() / 8
        {
            self.edges.shrink_to(self.edges.len() * 2, Edge::spread);
        }
    }
}

impl Node {
    fn new(parent: u32, token: &[u8]) -> Self {
        Self {
            token: Token::new(token),
            plain: Members::None,
            first_group: NIL,
            parent,
            literals: 0,
            any_one: NIL,
            any_rest: NIL,
        }
    }

    fn is_bare(&self) -> bool {
        self.plain.as_slice().is_empty()
            && self.first_group == NIL
            && self.literals == 0
            && self.any_one == NIL
            && self.any_rest == NIL
    }
}

impl Walk {
    /// Visits every node at which a filter ends that matches `subject`, each once.
    ///
    /// The work is bounded by the nodes of the tree, since each has one depth; the memory by the
    /// tokens of the subject, since a level leaves at most one node open.
    pub(super) fn run(
        &mut self,
        trie: &Trie,
        hashing: &Hashing,
        subject: &[u8],
        mut visit: impl FnMut(&Node),
    ) {
        if !self.split(hashing, subject) {
            return;
        }
        self.open.clear();
        self.open.push((ROOT, 0));
        while let Some((at, depth)) = self.open.pop() {
            let node = trie.node(at);
            let Some(piece) = self.pieces.get(depth as usize) else {
                visit(node);
                continue;
            };
            if node.any_rest != NIL {
                visit(trie.node(node.any_rest));
            }
            if node.any_one != NIL {
                self.open.push((node.any_one, depth + 1));
            }
            if node.literals > 0 {
                let token = &subject[piece.start as usize..piece.end as usize];
                if let Some(child) = trie.literal(at, token, piece.hash) {
                    self.open.push((child, depth + 1));
                }
            }
        }
    }

    /// Cuts the subject into its tokens; false when one is empty.
    fn split(&mut self, hashing: &Hashing, subject: &[u8]) -> bool {
        self.pieces.clear();
        let mut start = 0;
        loop {
            let rest = &subject[start..];
            let len = rest.iter().position(|&byte| byte == b'.').unwrap_or(rest.len());
            if len == 0 {
                return false;
            }
            let end = start + len;
            let hash = hashing.bytes(&subject[start..end]);
            self.pieces.push(Piece { hash, start: slot(start), end: slot(end) });
            if end == subject.len() {
                return true;
            }
            start = end + 1;
        }
    }
}

impl Edge {
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

impl Token {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; TOKEN_INLINE];
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= TOKEN_INLINE => {
                bytes[..text.len()].copy_from_slice(text);
                Self::Short { len, bytes }
            }
            Ok(_) | Err(_) => Self::Long(text.into()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(text) => text,
        }
    }
}

fn tokens(filter: &[u8]) -> impl Iterator<Item = &[u8]> {
    filter.split(|&byte| byte == b'.')
}

/// The root is the first node ever, and never freed.
const ROOT: u32 = 0;

/// The longest token that lies in the node itself.
const TOKEN_INLINE: usize = 22;

/// A tree with capacity for so many nodes does not bother to give memory back.
const NODES_KEPT: usize = 1024;

const _: () = assert!(size_of::<Option<Node>>() <= 64, "an idle subscription is one cache line");
