//! Configuration text cut into tokens.
//!
//! The grammar is NATS's own: JSON made lax, with comments, bare words, sizes, dates, block texts,
//! variables and includes. The lexer does not know what keys mean. It follows the peer also where
//! the peer is odd (a lone `/` ends a value), because files in use rely on it, and its error texts
//! are what people search for.
//!
//! Invariant: each [`Lexer::next`] consumes input, ends or fails, so the work is bounded by the
//! length of the text; nesting lives in `outer`, on the heap, never on the call stack.

/// What the lexer found; the texts are as written, still uninterpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Key(String),
    Text(String),
    Bool(String),
    Integer(String),
    Float(String),
    Date(String),
    Variable(String),
    Include(String),
    ArrayStart,
    ArrayEnd,
    MapStart,
    MapEnd,
    End,
}

/// A token with its place: lines count from 1; columns from 0 on the first line and from 1 below
/// it, because they count from the newline character, as the peer's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Why the text could not be cut, with the line it happened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LexError {
    pub(super) line: u32,
    pub(super) text: String,
}

type Step = Result<Option<Placed>, LexError>;

/// Where the lexer stands between two tokens.
///
/// `Block` is the inside of a brace that stands where a key would: the outermost one of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Top,
    TopValueEnd,
    Block,
    BlockValueEnd,
    BlockEnd,
    Key,
    KeyEnd,
    Value,
    Array,
    ArrayValueEnd,
    MapKey,
    MapKeyEnd,
    MapValue,
    MapValueEnd,
    Done,
}

/// Cuts one text into tokens.
pub(super) struct Lexer<'a> {
    input: &'a [u8],
    at: usize,
    /// Bytes of the character read last; 0 at the end of the text.
    width: usize,
    line: u32,
    line_start: usize,
    /// Where the token being read begins, and the start of that line.
    mark: usize,
    mark_line_start: usize,
    state: State,
    /// States to return to when a value or a nested block ends.
    outer: Vec<State>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            at: 0,
            width: 0,
            line: 1,
            line_start: 0,
            mark: 0,
            mark_line_start: 0,
            state: State::Top,
            outer: Vec::new(),
        }
    }

    /// The next token; [`Token::End`] for ever once the text is over.
    pub(super) fn next(&mut self) -> Result<Placed, LexError> {
        loop {
            if let Some(token) = self.step()? {
                return Ok(token);
            }
        }
    }

    fn step(&mut self) -> Step {
        match self.state {
            State::Top => self.top(),
            State::TopValueEnd => self.top_value_end(),
            State::Block => self.block(),
            State::BlockValueEnd => self.block_value_end(),
            State::BlockEnd => self.block_end(),
            State::Key => self.key(),
            State::KeyEnd => self.key_end(),
            State::Value => self.value(),
            State::Array => self.array(),
            State::ArrayValueEnd => self.array_value_end(),
            State::MapKey => self.map_key(),
            State::MapKeyEnd => self.map_key_end(),
            State::MapValue => self.map_value(),
            State::MapValueEnd => self.map_value_end(),
            State::Done => Ok(Some(self.placed(Token::End))),
        }
    }
}

/// Between keys, at the top level and in an outermost brace.
impl Lexer<'_> {
    fn top(&mut self) -> Step {
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::Top),
            '{' => self.enter(State::Top, State::Block),
            '#' => self.comment(State::Top),
            '/' if self.second_slash() => self.comment(State::Top),
            '/' | END => self.unexpected_end(),
            _ => self.start_key(State::TopValueEnd),
        }
    }

    fn top_value_end(&mut self) -> Step {
        match self.bump() {
            '#' => self.comment(State::Top),
            '/' if self.second_slash() => self.comment(State::Top),
            '/' | ' ' | '\t' => Ok(None),
            '\n' | '\r' | ';' | ',' | '}' | END => self.goto(State::Top),
            c => self.fail(format!(
                "Expected a top-level value to end with a new line, comment or EOF, but got '{}' \
                 instead.",
                shown(c)
            )),
        }
    }

    fn block(&mut self) -> Step {
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::Block),
            '{' => self.enter(State::BlockEnd, State::Block),
            '}' => self.leave(),
            '#' => self.comment(State::Block),
            '/' if self.second_slash() => self.comment(State::Block),
            '/' | END => self.unexpected_end(),
            _ => self.start_key(State::BlockValueEnd),
        }
    }

    fn block_value_end(&mut self) -> Step {
        match self.bump() {
            '#' => self.comment(State::BlockValueEnd),
            '/' if self.second_slash() => self.comment(State::BlockValueEnd),
            '/' | ' ' | '\t' => Ok(None),
            '\n' | '\r' | ';' | ',' => self.goto(State::Block),
            '}' => self.again(State::BlockEnd),
            c => self.fail(format!(
                "Expected a block-level value to end with a new line, comment or EOF, but got \
                 '{}' instead.",
                shown(c)
            )),
        }
    }

    fn block_end(&mut self) -> Step {
        match self.bump() {
            '#' => self.comment(State::Block),
            '/' if self.second_slash() => self.comment(State::Block),
            '/' | ' ' | '\t' | '\n' | '\r' => Ok(None),
            ';' | ',' => self.goto(State::Block),
            '}' => self.leave(),
            c => self.fail(format!(
                "Expected a block-level to end with a '}}', but got '{}' instead.",
                shown(c)
            )),
        }
    }
}

/// Keys and the include directive.
impl Lexer<'_> {
    fn start_key(&mut self, after_value: State) -> Step {
        self.outer.push(after_value);
        self.again(State::Key)
    }

    fn key(&mut self) -> Step {
        match self.peek() {
            c @ ('=' | ':') => self.fail(format!("Unexpected key separator '{c}'")),
            quote @ ('"' | '\'') => self.quoted_key(quote, State::KeyEnd),
            _ => self.bare_key(State::KeyEnd),
        }
    }

    fn map_key(&mut self) -> Step {
        match self.peek() {
            c @ ('=' | ':') => return self.fail(format!("Unexpected key separator '{c}'.")),
            ']' => return self.fail("Unexpected array end ']' processing map.".into()),
            END => return self.fail("Unexpected EOF processing map.".into()),
            quote @ ('"' | '\'') => return self.quoted_key(quote, State::MapKeyEnd),
            _ => {}
        }
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::MapKey),
            '}' => self.close(Token::MapEnd),
            '#' => self.comment(State::MapKey),
            '/' if self.second_slash() => self.comment(State::MapKey),
            // A lone slash before a key is dropped, as the peer drops it.
            '/' => self.bare_key(State::MapKeyEnd),
            _ => {
                self.back();
                self.bare_key(State::MapKeyEnd)
            }
        }
    }

    fn bare_key(&mut self, then: State) -> Step {
        self.mark_here();
        self.bump();
        loop {
            match self.peek() {
                c if c.is_whitespace() => return self.key_or_include(then),
                '=' | ':' => return self.emit_key(then),
                END if then == State::MapKeyEnd => {
                    return self.fail("Unexpected EOF processing map key.".into());
                }
                END => return self.emit_key(then),
                _ => self.bump(),
            };
        }
    }

    fn quoted_key(&mut self, quote: char, then: State) -> Step {
        self.bump();
        self.mark_here();
        loop {
            match self.peek() {
                c if c == quote => break,
                END if then == State::KeyEnd && self.at == self.mark => return self.finish(),
                END if then == State::KeyEnd => return self.fail("Unexpected EOF.".into()),
                END if quote == '\'' => {
                    return self.fail("Unexpected EOF processing quoted map key.".into());
                }
                END => {
                    return self.fail("Unexpected EOF processing double quoted map key.".into());
                }
                _ => self.bump(),
            };
        }
        let key = self.emit_key(then);
        self.bump();
        self.mark_here();
        key
    }

    /// A bare key that white space follows is the include directive when it says so.
    fn key_or_include(&mut self, then: State) -> Step {
        if !self.marked().eq_ignore_ascii_case(b"include") {
            return self.emit_key(then);
        }
        if then == State::MapKeyEnd {
            self.outer.push(State::MapValueEnd);
        }
        self.include()
    }

    fn key_end(&mut self) -> Step {
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::KeyEnd),
            '=' | ':' => self.goto(State::Value),
            END => self.finish(),
            _ => self.again(State::Value),
        }
    }

    fn map_key_end(&mut self) -> Step {
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::MapKeyEnd),
            '=' | ':' => self.goto(State::MapValue),
            _ => self.again(State::MapValue),
        }
    }

    fn include(&mut self) -> Step {
        while matches!(self.peek(), ' ' | '\t') {
            self.bump();
        }
        self.mark_here();
        let found = match self.bump() {
            quote @ ('"' | '\'') => return self.quoted_include(quote),
            '[' => "start of an array",
            '{' => "start of a map",
            '(' => "start of a block",
            '-' | '0'..='9' => "start of a number",
            '\\' => "escape sequence",
            '\n' | '\r' => "new line",
            _ => {
                self.back();
                return self.bare_include();
            }
        };
        self.fail(format!("Expected include value but found {found}"))
    }

    fn bare_include(&mut self) -> Step {
        loop {
            match self.peek() {
                '\n' | '\r' | END | ';' | '}' | ' ' | '\t' => {
                    return self.emit(Token::Include);
                }
                '\'' => return self.emit_and_close(Token::Include),
                _ => self.bump(),
            };
        }
    }

    fn quoted_include(&mut self, quote: char) -> Step {
        self.mark_here();
        loop {
            match self.peek() {
                c if c == quote => return self.emit_and_close(Token::Include),
                END if quote == '\'' => {
                    return self.fail("Unexpected EOF in quoted include".into());
                }
                END => return self.fail("Unexpected EOF in double quoted include".into()),
                _ => self.bump(),
            };
        }
    }
}

/// Values, arrays and maps.
impl Lexer<'_> {
    fn value(&mut self) -> Step {
        match self.bump() {
            ' ' | '\t' => self.goto(State::Value),
            '[' => self.open(Token::ArrayStart, State::Array),
            '{' => self.open(Token::MapStart, State::MapKey),
            '\'' => self.single_quoted(),
            '"' => self.double_quoted(),
            '-' => self.negative_number(),
            '(' => self.block_text(),
            '0'..='9' => self.number(),
            '.' => self.fail("Floats must start with a digit".into()),
            '\n' | '\r' => self.fail("Expected value but found new line".into()),
            _ => {
                self.back();
                self.bare_text()
            }
        }
    }

    fn array(&mut self) -> Step {
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::Array),
            '#' => self.comment(State::Array),
            '/' if self.second_slash() => self.comment(State::Array),
            '/' | ',' => self.fail("Unexpected array value terminator ','.".into()),
            ']' => self.close(Token::ArrayEnd),
            _ => {
                self.outer.push(State::ArrayValueEnd);
                self.again(State::Value)
            }
        }
    }

    fn array_value_end(&mut self) -> Step {
        match self.bump() {
            ' ' | '\t' => self.goto(State::ArrayValueEnd),
            '#' => self.comment(State::ArrayValueEnd),
            '/' if self.second_slash() => self.comment(State::ArrayValueEnd),
            '/' | ',' | '\n' | '\r' => self.goto(State::Array),
            ']' => self.close(Token::ArrayEnd),
            c => self.fail(format!(
                "Expected an array value terminator \",\" or an array terminator \"]\", but got \
                 '{}' instead.",
                shown(c)
            )),
        }
    }

    fn map_value(&mut self) -> Step {
        match self.bump() {
            c if c.is_whitespace() => self.goto(State::MapValue),
            ',' => self.fail("Unexpected map value terminator \",\".".into()),
            '}' => self.close(Token::MapEnd),
            _ => {
                self.outer.push(State::MapValueEnd);
                self.again(State::Value)
            }
        }
    }

    fn map_value_end(&mut self) -> Step {
        match self.bump() {
            ' ' | '\t' => self.goto(State::MapValueEnd),
            '#' => self.comment(State::MapValueEnd),
            '/' if self.second_slash() => self.comment(State::MapValueEnd),
            '/' | ';' | ',' | '\n' | '\r' => self.goto(State::MapKey),
            '}' => self.close(Token::MapEnd),
            c => self.fail(format!(
                "Expected a map value terminator \",\" or a map terminator \"}}\", but got '{}' \
                 instead.",
                shown(c)
            )),
        }
    }

    fn open(&mut self, token: Token, state: State) -> Step {
        self.mark_here();
        self.state = state;
        Ok(Some(self.placed(token)))
    }

    fn close(&mut self, token: Token) -> Step {
        self.mark_here();
        let placed = self.placed(token);
        self.leave()?;
        Ok(Some(placed))
    }
}

/// Texts, with their escapes resolved.
impl Lexer<'_> {
    fn single_quoted(&mut self) -> Step {
        self.mark_here();
        loop {
            match self.peek() {
                '\'' => return self.emit_and_close(Token::Text),
                END => return self.unexpected_end(),
                _ => self.bump(),
            };
        }
    }

    fn double_quoted(&mut self) -> Step {
        self.mark_here();
        let mut text = Vec::new();
        loop {
            match self.peek() {
                '\\' => self.escape(&mut text)?,
                '"' => {
                    let placed = self.emit_text(&text)?;
                    self.skip_quote();
                    return Ok(placed);
                }
                END => return self.unexpected_end(),
                _ => self.copy(&mut text),
            }
        }
    }

    /// A word without quotes: a truth value, a variable or a text. What is marked already belongs
    /// to it.
    fn bare_text(&mut self) -> Step {
        let mut text = self.marked().to_vec();
        let mut escaped = false;
        loop {
            match self.peek() {
                '\\' => {
                    escaped = true;
                    self.escape(&mut text)?;
                }
                '\n' | '\r' | END | ';' | ',' | ']' | '}' | ' ' | '\t' => break,
                '\'' => {
                    let placed = self.emit_text(&text)?;
                    self.skip_quote();
                    return Ok(placed);
                }
                _ => self.copy(&mut text),
            }
        }
        if !escaped && is_bool(self.marked()) {
            return self.emit(Token::Bool);
        }
        if !escaped && self.marked().first() == Some(&b'$') {
            self.mark += 1;
            return self.emit(Token::Variable);
        }
        self.emit_text(&text)
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), LexError> {
        self.bump();
        let byte = match self.bump() {
            'x' => self.hex_byte()?,
            't' => b'\t',
            'n' => b'\n',
            'r' => b'\r',
            '"' => b'"',
            '\\' => b'\\',
            c => {
                return Err(self.error(format!(
                    "Invalid escape character '{}'. Only the following escape characters are \
                     allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
                    shown(c)
                )));
            }
        };
        text.push(byte);
        // A text that ends in the middle of nothing counts from here.
        self.mark = self.at;
        Ok(())
    }

    fn hex_byte(&mut self) -> Result<u8, LexError> {
        for _ in 0..2 {
            if matches!(self.bump(), '\n' | '\r') {
                let text = "Expected two hexadecimal digits after '\\x', but hit end of line";
                return Err(self.error(text.into()));
            }
        }
        let digits = &self.input[self.at - 2..self.at];
        match digits {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                Ok((hex_value(*high) << 4) | hex_value(*low))
            }
            _ => Err(self.error(format!(
                "Expected two hexadecimal digits after '\\x', but got '{}'",
                utf8(digits)
            ))),
        }
    }

    /// Text between `(` and a `)` that stands alone on its line, verbatim.
    fn block_text(&mut self) -> Step {
        self.mark_here();
        loop {
            match self.bump() {
                END => return self.fail("Unexpected EOF processing block.".into()),
                ')' if self.input[self.at - 2] == b'\n' => {
                    // At the very end of a file the parenthesis is part of the text: the peer has
                    // it so, and values and digests have to agree.
                    if self.at == self.input.len() {
                        return self.emit(Token::Text);
                    }
                    if matches!(self.peek(), '\n' | END) {
                        self.back();
                        return self.emit_and_close(Token::Text);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Numbers, and what begins like one.
impl Lexer<'_> {
    /// The first digit is consumed.
    fn number(&mut self) -> Step {
        loop {
            match self.bump() {
                '-' if self.at - self.mark == YEAR_AND_DASH => return self.date(),
                '-' => return self.fail("All ISO8601 dates must be in full Zulu form.".into()),
                '0'..='9' => {}
                '.' => return self.fraction(),
                c if is_size(c) => return self.size(),
                '\n' | '\r' | END | '}' | ';' | ',' | ' ' | '\t' => {
                    self.back();
                    return self.emit(Token::Integer);
                }
                // The character belongs to the text whatever it is, a bracket too.
                _ => return self.bare_text(),
            }
        }
    }

    /// The minus sign is consumed.
    fn negative_number(&mut self) -> Step {
        match self.bump() {
            '0'..='9' => {}
            '.' => return self.fail("Floats must start with a digit, not '.'.".into()),
            c => return self.fail(format!("Expected a digit but got '{}'.", shown(c))),
        }
        loop {
            match self.bump() {
                '0'..='9' => {}
                '.' => return self.fraction(),
                c if is_size(c) => return self.size(),
                _ => {
                    self.back();
                    return self.emit(Token::Integer);
                }
            }
        }
    }

    /// A size such as `1k` or `64MiB`, whose first letter is consumed; or a word after all.
    fn size(&mut self) -> Step {
        while matches!(self.peek(), 'b' | 'B' | 'i' | 'I') {
            self.bump();
        }
        match self.peek() {
            '\n' | '\r' | END | '}' | ';' | ',' | ' ' | '\t' => self.emit(Token::Integer),
            _ => self.bare_text(),
        }
    }

    fn date(&mut self) -> Step {
        for expected in DATE_AFTER_YEAR.chars() {
            let c = self.bump();
            if expected == '0' && !c.is_ascii_digit() {
                return self.fail(format!(
                    "Expected digit in ISO8601 datetime, but found '{}' instead.",
                    shown(c)
                ));
            }
            if expected != '0' && c != expected {
                return self.fail(format!(
                    "Expected '{expected}' in ISO8601 datetime, but found '{}' instead.",
                    shown(c)
                ));
            }
        }
        self.emit(Token::Date)
    }

    /// The point is consumed; a second point makes it an address such as `127.0.0.1:4222`.
    fn fraction(&mut self) -> Step {
        let c = self.bump();
        if !c.is_ascii_digit() {
            return self.fail(format!(
                "Floats must have a digit after the '.', but got '{}' instead.",
                shown(c)
            ));
        }
        while self.peek().is_ascii_digit() {
            self.bump();
        }
        if self.peek() != '.' {
            return self.emit(Token::Float);
        }
        while matches!(self.peek(), '0'..='9' | '.' | ':' | '-') {
            self.bump();
        }
        self.emit(Token::Text)
    }
}

/// The cursor.
impl<'a> Lexer<'a> {
    /// Reads one character; [`END`] at the end, which a zero byte in the text looks like too.
    fn bump(&mut self) -> char {
        let (c, width) = decode(&self.input[self.at..]);
        if c == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        self.width = width;
        self.at += width;
        c
    }

    /// Steps back over the character read last; only once after a [`bump`](Self::bump).
    fn back(&mut self) {
        self.at -= self.width;
        if self.width > 0 && self.input[self.at] == b'\n' {
            self.line -= 1;
        }
        self.width = 0;
    }

    fn peek(&self) -> char {
        decode(&self.input[self.at..]).0
    }

    fn copy(&mut self, text: &mut Vec<u8>) {
        let from = self.at;
        self.bump();
        text.extend_from_slice(&self.input[from..self.at]);
    }

    /// Whether a second slash follows; it is consumed then.
    fn second_slash(&mut self) -> bool {
        let found = self.peek() == '/';
        if found {
            self.bump();
        }
        found
    }

    fn skip_quote(&mut self) {
        self.bump();
        self.mark_here();
    }

    fn mark_here(&mut self) {
        self.mark = self.at;
        self.mark_line_start = self.line_start;
    }

    fn marked(&self) -> &'a [u8] {
        &self.input[self.mark..self.at]
    }

    fn goto(&mut self, state: State) -> Step {
        self.mark_here();
        self.state = state;
        Ok(None)
    }

    /// Gives the character read last to another state.
    fn again(&mut self, state: State) -> Step {
        self.back();
        self.state = state;
        Ok(None)
    }

    fn enter(&mut self, after: State, state: State) -> Step {
        self.outer.push(after);
        self.goto(state)
    }

    fn leave(&mut self) -> Step {
        match self.outer.pop() {
            Some(state) => self.goto(state),
            None => self.fail("unbalanced brackets".into()),
        }
    }

    /// Skips a comment, up to its newline.
    fn comment(&mut self, then: State) -> Step {
        while !matches!(self.peek(), '\n' | '\r' | END) {
            self.bump();
        }
        self.goto(then)
    }

    fn emit_key(&mut self, then: State) -> Step {
        let placed = self.placed(Token::Key(utf8(self.marked())));
        self.goto(then)?;
        Ok(Some(placed))
    }

    fn emit(&mut self, token: impl FnOnce(String) -> Token) -> Step {
        let placed = self.placed(token(utf8(self.marked())));
        self.leave()?;
        Ok(Some(placed))
    }

    /// As [`emit`](Self::emit), and consumes the closing quote or parenthesis.
    fn emit_and_close(&mut self, token: impl FnOnce(String) -> Token) -> Step {
        let placed = self.emit(token)?;
        self.skip_quote();
        Ok(placed)
    }

    /// Emits a text whose escapes are resolved; its column counts back from its end, as the peer's.
    fn emit_text(&mut self, text: &[u8]) -> Step {
        let column = (self.at - self.mark_line_start).saturating_sub(text.len());
        let placed = Placed {
            token: Token::Text(utf8(text)),
            line: self.line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
        };
        self.leave()?;
        Ok(Some(placed))
    }

    fn placed(&self, token: Token) -> Placed {
        let column = u32::try_from(self.mark - self.mark_line_start).unwrap_or(u32::MAX);
        Placed { token, line: self.line, column }
    }

    /// The end of the text: fine where nothing was begun, else an error.
    fn unexpected_end(&mut self) -> Step {
        if self.mark < self.input.len() {
            return self.fail("Unexpected EOF.".into());
        }
        self.finish()
    }

    fn finish(&mut self) -> Step {
        self.state = State::Done;
        Ok(Some(self.placed(Token::End)))
    }

    fn fail(&self, text: String) -> Step {
        Err(self.error(text))
    }

    fn error(&self, text: String) -> LexError {
        LexError { line: self.line, text }
    }
}

/// What [`Lexer::bump`] gives at the end of the text.
const END: char = '\0';

/// Length of `2026-`.
const YEAR_AND_DASH: usize = 5;

/// The shape of a date after its year; `0` stands for any digit.
const DATE_AFTER_YEAR: &str = "00-00T00:00:00Z";

fn decode(input: &[u8]) -> (char, usize) {
    match input {
        [] => (END, 0),
        [byte, ..] if byte.is_ascii() => (char::from(*byte), 1),
        _ => {
            let head = &input[..input.len().min(4)];
            match head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()) {
                Some(c) => (c, c.len_utf8()),
                None => (char::REPLACEMENT_CHARACTER, 1),
            }
        }
    }
}

/// Text as UTF-8; each byte that is not becomes one replacement character, as in Go.
pub(super) fn utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn shown(c: char) -> String {
    if c == '\n' { "\\n".into() } else { c.into() }
}

fn is_bool(word: &[u8]) -> bool {
    [&b"true"[..], b"false", b"on", b"off", b"yes", b"no"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

fn is_size(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
