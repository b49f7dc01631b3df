//! The text form of a transcript; `tests/transcripts/README.md` describes it.

use super::pattern::Line;
use super::{Case, Chunks, Step, Transcript};

/// Reads a whole file; an error begins with its line number.
pub(super) fn transcript(name: &str, text: &str) -> Result<Transcript, String> {
    let mut transcript = Transcript {
        name: name.to_owned(),
        config: String::new(),
        flags: Vec::new(),
        chunks: vec![Chunks::Whole, Chunks::Bytes, Chunks::Random],
        cases: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        take_line(&mut transcript, number, line).map_err(|error| format!("{number}: {error}"))?;
    }
    if transcript.cases.iter().any(|case| case.steps.is_empty()) {
        return Err("1: a case has no steps".to_owned());
    }
    Ok(transcript)
}

fn take_line(transcript: &mut Transcript, number: usize, line: &str) -> Result<(), String> {
    if let Some(title) = line.strip_prefix("== ") {
        transcript.cases.push(Case { title: title.to_owned(), steps: Vec::new() });
        return Ok(());
    }
    if let Some(config) = line.strip_prefix("# config: ") {
        transcript.config.push_str(config);
        transcript.config.push('\n');
        return Ok(());
    }
    if let Some(flags) = line.strip_prefix("# flags: ") {
        transcript.flags.extend(flags.split_whitespace().map(str::to_owned));
        return Ok(());
    }
    if let Some(chunks) = line.strip_prefix("# chunks: ") {
        transcript.chunks = chunks.split(", ").map(chunks_named).collect::<Result<_, _>>()?;
        return Ok(());
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let case = transcript.cases.last_mut().ok_or("a step before the first `== title`")?;
    add_step(&mut case.steps, number, line)
}

fn chunks_named(name: &str) -> Result<Chunks, String> {
    match name {
        "whole" => Ok(Chunks::Whole),
        "bytes" => Ok(Chunks::Bytes),
        "random" => Ok(Chunks::Random),
        other => Err(format!("no chunks are called {other:?}")),
    }
}

fn add_step(steps: &mut Vec<(usize, Step)>, number: usize, line: &str) -> Result<(), String> {
    let (head, rest) = line.split_once(':').ok_or("a step needs a colon")?;
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let step = match head.split_whitespace().collect::<Vec<_>>()[..] {
        ["OPEN"] => Step::Open { conn: rest.to_owned() },
        ["HANGUP"] => Step::HangUp { conn: rest.to_owned() },
        ["SIGNAL"] => Step::Signal { name: rest.to_owned() },
        ["EXIT"] => Step::Exit { code: rest.parse().map_err(|_| "not an exit code")? },
        ["COUNT", ref words @ ..] => count(words, rest)?,
        [conn] if conn.starts_with('C') => {
            Step::Send { conn: conn[1..].to_owned(), bytes: sent(rest)? }
        }
        [conn] if conn.starts_with('S') => expectation(&conn[1..], rest)?,
        _ => return Err(format!("no step begins with {head:?}")),
    };
    push_or_merge(steps, number, step);
    Ok(())
}

/// Lines that follow each other become one send, or one set in any order.
fn push_or_merge(steps: &mut Vec<(usize, Step)>, number: usize, step: Step) {
    match (steps.last_mut().map(|(_, last)| last), step) {
        (Some(Step::Send { conn, bytes }), Step::Send { conn: next, bytes: more })
            if *conn == next =>
        {
            bytes.extend(more);
        }
        (
            Some(Step::ExpectAnyOrder { conn, groups }),
            Step::ExpectAnyOrder { conn: next, groups: more },
        ) if *conn == next => groups.extend(more),
        (_, step) => steps.push((number, step)),
    }
}

fn expectation(conn: &str, rest: &str) -> Result<Step, String> {
    let (conn, any_order) = conn.strip_suffix('*').map_or((conn, false), |conn| (conn, true));
    let conn = conn.to_owned();
    if any_order {
        return Ok(Step::ExpectAnyOrder { conn, groups: vec![lines(rest)?] });
    }
    if rest == "<closed>" {
        return Ok(Step::Closed { conn });
    }
    if let Some(json) = rest.strip_prefix("INFO ") {
        let fields = serde_json::from_str(json).map_err(|error| error.to_string())?;
        return Ok(Step::Info { conn, fields });
    }
    Ok(Step::Expect { conn, lines: lines(rest)? })
}

/// `COUNT 1 2 min 20: 100 MSG subject`
fn count(words: &[&str], rest: &str) -> Result<Step, String> {
    let (conns, each_min) = match words {
        [conns @ .., "min", least] => (conns, least.parse().map_err(|_| "not a number")?),
        conns => (conns, 0),
    };
    let (total, prefix) = rest.split_once(' ').ok_or("COUNT needs a number and a prefix")?;
    Ok(Step::Count {
        conns: conns.iter().map(|&conn| conn.to_owned()).collect(),
        total: total.parse().map_err(|_| "not a number")?,
        each_min,
        prefix: prefix.to_owned(),
    })
}

/// The bytes of a client's line: ends with CRLF unless the text ends with a lone backslash.
fn sent(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_suffix('\\') {
        Some(open_end) if !open_end.ends_with('\\') => unescape(open_end),
        _ => Ok([unescape(text)?, b"\r\n".to_vec()].concat()),
    }
}

fn lines(text: &str) -> Result<Vec<Line>, String> {
    let mut bytes = &unescape(text)?[..];
    let mut lines = Vec::new();
    while let Some(end) = memchr::memmem::find(bytes, b"\r\n") {
        lines.push(Line::parse(&bytes[..end]));
        bytes = &bytes[end + 2..];
    }
    lines.push(Line::parse(bytes));
    Ok(lines)
}

/// Undoes `|` (CRLF), `{text*count}` (repetition) and backslash escapes.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match (first, repetition(after)) {
            ('|', _) => {
                bytes.extend(b"\r\n");
                after
            }
            ('\\', _) => escape(after, &mut bytes)?,
            ('{', Some((repeated, count, remaining))) => {
                bytes.extend(unescape(repeated)?.repeat(count));
                remaining
            }
            (other, _) => {
                bytes.extend(other.encode_utf8(&mut [0; 4]).bytes());
                after
            }
        };
    }
    Ok(bytes)
}

fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let (code, rest) = text.split_at_checked(1).ok_or("a backslash at the end")?;
    if code == "x" {
        let (digits, rest) = rest.split_at_checked(2).ok_or("\\x needs two digits")?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x needs two digits")?);
        return Ok(rest);
    }
    bytes.push(match code {
        "r" => b'\r',
        "n" => b'\n',
        "t" => b'\t',
        "\\" | "|" | "{" => code.as_bytes()[0],
        other => return Err(format!("no escape \\{other}")),
    });
    Ok(rest)
}

/// `text*count}`, where the text holds no brace and no quote (those are JSON).
fn repetition(text: &str) -> Option<(&str, usize, &str)> {
    let (inside, remaining) = text.split_once('}')?;
    let (repeated, count) = inside.rsplit_once('*')?;
    let plain = !repeated.contains(['{', '"']) && !repeated.is_empty();
    Some((repeated, count.parse().ok().filter(|_| plain)?, remaining))
}
