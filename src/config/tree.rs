//! The parsed configuration: values that know where they stand.
//!
//! The tree knows no option. It offers two views of itself: a serde deserializer, whose errors say
//! what the peer's do and carry the position, and the digest that `-t` and /varz show.
//!
//! Invariant: a tree is at most [`DEPTH_MAX`](super::parser::DEPTH_MAX) levels deep, so recursion
//! over it is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::DateTime;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use sha2::{Digest as _, Sha256};

/// Where a value stands: at its key in a map, at itself in an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: Arc<str>,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value with its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) position: Position,
    /// Rank in the order of definition, so that a walk can follow the file.
    pub(super) order: usize,
    /// A variable reference named this key, so it is no unknown field.
    pub(super) used: bool,
}

/// A map by key, in the order of the bytes of its keys.
pub(super) type Map = BTreeMap<String, Node>;

/// What a configuration can say.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Date(DateTime),
    Array(Vec<Node>),
    Map(Map),
}

impl Value {
    /// The name Go gives this type in an error text.
    pub(super) fn go_type(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::Bool(_) => "bool",
            Self::Date(_) => "time.Time",
            Self::Array(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }
}

/// The value as Go's `%v` shows it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Date(date) => write!(f, "{} {} +0000 UTC", date.date(), date.time()),
            Self::Array(_) | Self::Map(_) => {
                let mut json = String::new();
                write_json(self, &mut json);
                f.write_str(&json)
            }
        }
    }
}

impl Node {
    /// Entries of a map in the order of the file; empty for other values.
    pub(super) fn entries(&self) -> Vec<(&String, &Self)> {
        match &self.value {
            Value::Map(map) => in_file_order(map),
            _ => Vec::new(),
        }
    }

    /// An error that stands at this value.
    pub(super) fn error(&self, text: impl Into<String>) -> ConfigError {
        ConfigError { position: Some(self.position.clone()), text: text.into() }
    }

    /// The error of a value that is not of the type its option has.
    pub(super) fn not_a(&self, expected: &str) -> ConfigError {
        self.error(conversion(self.value.go_type(), expected))
    }

    /// Gives this value and all below it one position.
    pub(super) fn place(&mut self, position: &Position) {
        self.position.clone_from(position);
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.place(position)),
            Value::Map(map) => map.values_mut().for_each(|item| item.place(position)),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Date(_) => {}
        }
    }

    /// Number of nodes and levels of this value, itself included.
    pub(super) fn extent(&self) -> Extent {
        let mut extent = Extent { nodes: 1, levels: 1 };
        let mut add = |child: &Self| {
            let below = child.extent();
            extent.nodes = extent.nodes.saturating_add(below.nodes);
            extent.levels = extent.levels.max(below.levels + 1);
        };
        match &self.value {
            Value::Array(items) => items.iter().for_each(&mut add),
            Value::Map(map) => map.values().for_each(&mut add),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Date(_) => {}
        }
        extent
    }
}

/// How large a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) nodes: usize,
    pub(super) levels: usize,
}

pub(super) fn in_file_order(map: &Map) -> Vec<(&String, &Node)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(_, node)| node.order);
    entries
}

/// An error about one value, with its position as far as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigError {
    position: Option<Position>,
    text: String,
}

impl ConfigError {
    /// An error that tells no place, because the peer's does not.
    pub(super) fn without_place(text: impl Into<String>) -> Self {
        Self { position: None, text: text.into() }
    }

    /// The same error, placed at `node` unless a deeper place is known.
    pub(super) fn or_at(mut self, node: &Node) -> Self {
        self.position.get_or_insert_with(|| node.position.clone());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

impl de::Error for ConfigError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { position: None, text: text.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "bool",
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => "int64",
            Unexpected::Float(_) => "float64",
            Unexpected::Str(_) => "string",
            Unexpected::Seq => "[]interface {}",
            Unexpected::Map => "map[string]interface {}",
            other => return Self::custom(format!("expected {expected}, got {other}")),
        };
        Self::custom(conversion(found, &expected.to_string()))
    }
}

/// Go's text for a value of the wrong type.
fn conversion(found: &str, expected: &str) -> String {
    format!("interface conversion: interface {{}} is {found}, not {expected}")
}

macro_rules! deserialize_as {
    ($go:literal, $value:pat => $visit:expr; $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
            match &self.value {
                $value => ($visit)(visitor),
                _ => Err(self.not_a($go)),
            }
            .map_err(|e: ConfigError| e.or_at(self))
        })*
    };
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match &self.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Date(date) => visitor.visit_string(date.to_string()),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(map) => {
                visitor.visit_map(Entries { entries: in_file_order(map).into_iter(), value: None })
            }
        }
        .map_err(|e: ConfigError| e.or_at(self))
    }

    deserialize_as! { "bool", Value::Bool(b) => |v: V| v.visit_bool(*b); deserialize_bool }
    deserialize_as! { "int64", Value::Integer(n) => |v: V| v.visit_i64(*n);
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    deserialize_as! { "float64", Value::Float(n) => |v: V| v.visit_f64(*n);
        deserialize_f32 deserialize_f64
    }
    deserialize_as! { "string", Value::Text(text) => |v: V| v.visit_borrowed_str(text);
        deserialize_str deserialize_string deserialize_char
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match &self.value {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => Err(self.not_a("map[string]interface {}")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match &self.value {
            Value::Array(_) => self.deserialize_any(visitor),
            _ => Err(self.not_a("[]interface {}")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct tuple tuple_struct struct enum identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ConfigError> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'de> {
    entries: std::vec::IntoIter<(&'de String, &'de Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ConfigError> {
        match self.value.take() {
            Some(node) => seed.deserialize(node),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// `sha256:` and the hash of the tree as Go's JSON encoder would write it, with its newline.
pub(super) fn digest(root: &Map) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(json(root) + "\n") {
        push(&mut text, format_args!("{byte:02x}"));
    }
    text
}

/// The tree as JSON in one line, keys in order.
pub(super) fn json(root: &Map) -> String {
    let mut json = String::new();
    write_map(root, &mut json);
    json
}

fn write_json(value: &Value, json: &mut String) {
    match value {
        Value::Text(text) => write_text(text, json),
        Value::Integer(number) => push(json, format_args!("{number}")),
        Value::Float(number) => write_float(*number, json),
        Value::Bool(truth) => push(json, format_args!("{truth}")),
        Value::Date(date) => push(json, format_args!("\"{}T{}Z\"", date.date(), date.time())),
        Value::Array(items) => {
            json.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    json.push(',');
                }
                write_json(&item.value, json);
            }
            json.push(']');
        }
        Value::Map(map) => write_map(map, json),
    }
}

fn write_map(map: &Map, json: &mut String) {
    json.push('{');
    for (i, (key, node)) in map.iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        write_text(key, json);
        json.push(':');
        write_json(&node.value, json);
    }
    json.push('}');
}

fn write_text(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            // What was no UTF-8 became replacement characters, which Go writes as an escape.
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{fffd}' => {
                push(json, format_args!("\\u{:04x}", u32::from(c)));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

/// Go writes very small and very large numbers with an exponent.
fn write_float(number: f64, json: &mut String) {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        push(json, format_args!("{number}"));
    } else if size < 1.0 {
        push(json, format_args!("{number:e}"));
    } else {
        json.push_str(&format!("{number:e}").replace('e', "e+"));
    }
}

fn push(text: &mut String, what: fmt::Arguments<'_>) {
    // Writing into a `String` cannot fail.
    let _ = text.write_fmt(what);
}
