//! Tokens made into a tree: nesting, numbers, variables and includes.
//!
//! The parser knows no option. It reads included files and the environment through [`World`], so
//! that tests give it theirs.
//!
//! Invariant: whatever the text, the tree has at most [`DEPTH_MAX`] levels and [`NODES_MAX`] nodes;
//! a variable that multiplies itself or a file that includes itself ends in an error.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use jiff::civil::DateTime;

use super::lexer::{Lexer, Placed, Token};
use super::tree::{Map, Node, Position, Value};
use crate::files::os_error;

/// Levels a configuration may nest; the deepest known use is below ten.
pub(super) const DEPTH_MAX: usize = 100;

/// Nodes of one configuration, so that variables cannot multiply without end.
const NODES_MAX: usize = 1_000_000;

/// Files and environment variables that may be open within each other.
const SOURCES_MAX: usize = 32;

/// Largest configuration file, in bytes.
const FILE_SIZE_MAX: u64 = 256 << 20;

/// The outside that a configuration can refer to.
pub(super) struct World<'a> {
    pub(super) read_file: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

/// Reads a file; the error is worded as Go's.
pub(super) fn read_file(path: &str) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("open {path}: {}", os_error(&e)))?;
    let mut bytes = Vec::new();
    match file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes) {
        Ok(read) if read as u64 > FILE_SIZE_MAX => {
            Err(format!("read {path}: file too large, at most {FILE_SIZE_MAX} bytes"))
        }
        Ok(_) => Ok(bytes),
        Err(e) => Err(format!("read {path}: {}", os_error(&e))),
    }
}

/// Parses the file `path` and all it includes.
pub(super) fn parse_file(path: &str, world: &World<'_>) -> Result<Map, String> {
    let mut budget = Budget { nodes: 0, sources: 0, variables: Vec::new(), world };
    parse_included(path, &mut budget, 0)
}

fn parse_included(path: &str, budget: &mut Budget<'_>, depth: usize) -> Result<Map, String> {
    let text = (budget.world.read_file)(path)?;
    budget.enter_source(|budget| Parser::new(&text, path, depth, budget).run())
}

/// What all files of one configuration share.
struct Budget<'a> {
    nodes: usize,
    sources: usize,
    /// Environment variables that are being resolved, to find cycles.
    variables: Vec<String>,
    world: &'a World<'a>,
}

impl Budget<'_> {
    fn enter_source<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.sources == SOURCES_MAX {
            return Err(format!(
                "more than {SOURCES_MAX} files include each other, perhaps in a \
                                circle"
            ));
        }
        self.sources += 1;
        let result = parse(self);
        self.sources -= 1;
        result
    }

    fn add_nodes(&mut self, nodes: usize) -> Result<usize, String> {
        let rank = self.nodes;
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(format!("the configuration has more than {NODES_MAX} values"));
        }
        Ok(rank)
    }
}

/// An open map or array.
enum Context {
    Map(Map),
    Array(Vec<Node>),
}

struct Key {
    name: String,
    line: u32,
    column: u32,
}

struct Parser<'t, 'b, 'w> {
    lexer: Lexer<'t>,
    file: Arc<str>,
    contexts: Vec<Context>,
    /// Keys that wait for a value. A key whose value came to nothing stays here, and its map is
    /// stored under it: the peer does so, and digests have to agree.
    keys: Vec<Key>,
    /// Levels around the text.
    depth: usize,
    budget: &'b mut Budget<'w>,
}

impl<'t, 'b, 'w> Parser<'t, 'b, 'w> {
    fn new(text: &'t [u8], file: &str, depth: usize, budget: &'b mut Budget<'w>) -> Self {
        Self {
            lexer: Lexer::new(text),
            file: file.into(),
            contexts: vec![Context::Map(Map::new())],
            keys: Vec::new(),
            depth,
            budget,
        }
    }

    fn run(mut self) -> Result<Map, String> {
        let mut key_is_last = false;
        loop {
            let placed = self
                .lexer
                .next()
                .map_err(|e| format!("Parse error on line {}: '{}'", e.line, e.text))?;
            if placed.token == Token::End {
                if key_is_last {
                    let Placed { line, column, .. } = placed;
                    return Err(format!("config is invalid ({}:{line}:{column})", self.file));
                }
                return Ok(self.into_root());
            }
            // A brace that is left over at the end may stand: it closes a JSON file.
            key_is_last = matches!(&placed.token, Token::Key(name) if name != "}");
            self.take(placed)?;
        }
    }

    fn into_root(mut self) -> Map {
        match self.contexts.swap_remove(0) {
            Context::Map(map) => map,
            Context::Array(_) => Map::new(),
        }
    }

    fn take(&mut self, placed: Placed) -> Result<(), String> {
        let Placed { token, line, column } = placed;
        let value = match token {
            Token::Key(name) => {
                self.keys.push(Key { name, line, column });
                return Ok(());
            }
            Token::MapStart => return self.open(Context::Map(Map::new()), line),
            Token::ArrayStart => return self.open(Context::Array(Vec::new()), line),
            Token::Include(path) => return self.include(&path),
            Token::Variable(name) => return self.variable(&name, line, column),
            Token::MapEnd | Token::ArrayEnd => match self.contexts.pop() {
                Some(Context::Map(map)) => Value::Map(map),
                Some(Context::Array(items)) => Value::Array(items),
                None => return Ok(()),
            },
            Token::Text(text) => Value::Text(text),
            Token::Bool(word) => Value::Bool(truth(&word)),
            Token::Integer(text) => match integer(&text)? {
                Some(number) => Value::Integer(number),
                None => return Ok(()),
            },
            Token::Float(text) => Value::Float(float(&text)?),
            Token::Date(text) => Value::Date(date(&text)?),
            Token::End => return Ok(()),
        };
        let order = self.budget.add_nodes(1)?;
        let position = Position { file: self.file.clone(), line, column };
        self.store(Node { value, position, order, used: false })
    }

    fn open(&mut self, context: Context, line: u32) -> Result<(), String> {
        self.check_depth(1, line)?;
        self.contexts.push(context);
        Ok(())
    }

    fn check_depth(&self, levels: usize, line: u32) -> Result<(), String> {
        if self.depth + self.contexts.len() + levels > DEPTH_MAX {
            return Err(format!(
                "Parse error on line {line}: 'more than {DEPTH_MAX} levels of nesting'"
            ));
        }
        Ok(())
    }

    /// Puts a value into the innermost open array or map.
    fn store(&mut self, mut node: Node) -> Result<(), String> {
        match self.contexts.last_mut() {
            Some(Context::Array(items)) => items.push(node),
            Some(Context::Map(map)) => {
                let key = self.keys.pop().ok_or("a value without a key")?;
                // Errors are more useful at the key than at the value.
                node.position.line = key.line;
                node.position.column = key.column;
                map.insert(key.name, node);
            }
            None => return Err("a value outside of everything".into()),
        }
        Ok(())
    }

    fn include(&mut self, path: &str) -> Result<(), String> {
        let full = join(directory(&self.file), path);
        let depth = self.depth + self.contexts.len();
        let map = parse_included(&full, self.budget, depth)
            .map_err(|e| format!("error parsing include file '{path}', {e}"))?;
        if let Some(Context::Map(into)) = self.contexts.last_mut() {
            into.extend(map);
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, line: u32, column: u32) -> Result<(), String> {
        let found = self.look_up(name).map_err(|e| {
            format!("variable reference for '{name}' on line {line} could not be parsed: {e}")
        })?;
        let mut node = found.ok_or_else(|| {
            format!("variable reference for '{name}' on line {line} can not be found")
        })?;
        let extent = node.extent();
        self.check_depth(extent.levels, line)?;
        node.order = self.budget.add_nodes(extent.nodes)?;
        node.used = false;
        node.position = Position { file: self.file.clone(), line, column };
        self.store(node)
    }

    /// A variable's value: from the open maps, innermost first, then from the environment.
    fn look_up(&mut self, name: &str) -> Result<Option<Node>, String> {
        let position = Position { file: self.file.clone(), line: 0, column: 0 };
        if name.starts_with(BCRYPT_PREFIX) {
            let value = Value::Text(format!("${name}"));
            return Ok(Some(Node { value, position, order: 0, used: false }));
        }
        for context in self.contexts.iter_mut().rev() {
            if let Context::Map(map) = context
                && let Some(node) = map.get_mut(name)
            {
                node.used = true;
                return Ok(Some(node.clone()));
            }
        }
        let Some(mut node) = self.environment(name)? else { return Ok(None) };
        node.place(&position);
        Ok(Some(node))
    }

    /// An environment variable's text, parsed as a value is.
    fn environment(&mut self, name: &str) -> Result<Option<Node>, String> {
        if self.budget.variables.iter().any(|open| open == name) {
            return Err(format!("variable reference cycle for '{name}'"));
        }
        let Some(text) = (self.budget.world.variable)(name) else { return Ok(None) };
        self.budget.variables.push(name.to_owned());
        let text = format!("{ENVIRONMENT_KEY}={text}");
        let depth = self.depth + self.contexts.len();
        let parsed = self
            .budget
            .enter_source(|budget| Parser::new(text.as_bytes(), "", depth, budget).run());
        self.budget.variables.pop();
        Ok(parsed?.remove(ENVIRONMENT_KEY))
    }
}

/// A bare bcrypt hash looks like a variable, and is taken literally.
const BCRYPT_PREFIX: &str = "2a$";

/// The key under which an environment variable's text is parsed.
const ENVIRONMENT_KEY: &str = "pk";

fn truth(word: &str) -> bool {
    ["true", "yes", "on"].iter().any(|yes| word.eq_ignore_ascii_case(yes))
}

/// A number and its size suffix. `None`: a suffix nobody knows, which the peer passes over.
fn integer(text: &str) -> Result<Option<i64>, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let number: i64 =
        digits.parse().map_err(|_| format!("integer '{text}' is out of the range"))?;
    Ok(factor(suffix).map(|factor| number.wrapping_mul(factor)))
}

fn factor(suffix: &str) -> Option<i64> {
    let suffix = suffix.to_ascii_lowercase();
    let Some(letter) = suffix.chars().next() else { return Some(1) };
    let power = 1 + u32::try_from("kmgtpe".find(letter)?).ok()?;
    match &suffix[1..] {
        "" => Some(1000_i64.pow(power)),
        "b" | "i" | "ib" => Some(1024_i64.pow(power)),
        _ => None,
    }
}

fn float(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) => Ok(number),
        Ok(_) => Err(format!("float '{text}' is out of the range")),
        Err(_) => Err(format!("expected float, but got '{text}'")),
    }
}

fn date(text: &str) -> Result<DateTime, String> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i8>().ok();
    let parse = || {
        let year = text.get(0..4)?.parse().ok()?;
        let (month, day) = (part(5..7)?, part(8..10)?);
        let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
        DateTime::new(year, month, day, hour, minute, second, 0).ok()
    };
    parse().ok_or_else(|| format!("expected Zulu formatted DateTime, but got '{text}'"))
}

/// The directory of a path, as Go's `filepath.Dir`.
fn directory(path: &str) -> &str {
    match path.rfind('/') {
        Some(slash) => &path[..=slash],
        None => ".",
    }
}

/// Two paths joined and cleaned without asking the file system, as Go's `filepath.Join`. An
/// absolute `path` is taken below `directory` too.
fn join(directory: &str, path: &str) -> String {
    clean(&format!("{directory}/{path}"))
}

/// A path without `.`, `..` and doubled slashes, as Go's `path.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}
