//! Log lines in nats-server's format, written by a thread of their own.
//!
//! Any thread logs with `tracing`'s macros. A line goes through a bounded channel to the writer; when
//! that is full, the line is dropped and counted, and the writer says how many: nobody ever waits for
//! a disk. A fatal line (`FTL`) is an error with the target [`FATAL`].
//!
//! Invariant: one event is one line, whatever a peer sent as its name.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::files;

/// The target that makes an error a fatal one: `error!(target: FATAL, "…")`.
pub const FATAL: &str = "fatal";

/// What is logged, where and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The file; standard error without one.
    pub file: Option<PathBuf>,
    /// Whether lines begin with the time.
    pub time: bool,
    /// Whether that is UTC instead of local time.
    pub utc: bool,
    /// Whether DBG lines are written.
    pub debug: bool,
    /// Whether TRC lines are written.
    pub trace: bool,
    /// A file that is longer is put aside; zero is no bound.
    pub file_bytes_max: u64,
    /// So many files are kept, the current one included; zero is no bound.
    pub files_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            file: None,
            time: true,
            utc: false,
            debug: false,
            trace: false,
            file_bytes_max: 0,
            files_max: 0,
        }
    }
}

/// The log of this process. Dropping it writes what was logged before.
#[derive(Debug)]
pub struct Logging {
    sender: SyncSender<Message>,
    levels: Arc<Levels>,
    writer: Option<JoinHandle<()>>,
}

impl Logging {
    /// Starts the writer and makes this the log of all threads.
    ///
    /// # Errors
    /// What to print: the file cannot be opened, the thread cannot be started, or the process has a
    /// log already.
    pub fn install(options: LogOptions) -> Result<Self, String> {
        let (logging, layer) = Self::start(options)?;
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(logging)
    }

    /// Starts the writer; what the layer sees is logged.
    fn start(options: LogOptions) -> Result<(Self, LogLayer), String> {
        let levels = Arc::new(Levels::default());
        levels.set(&options);
        let (sender, receiver) = sync_channel(LINES_MAX);
        let mut writer = Writer::new(options, Arc::clone(&levels))?;
        let run = move || writer.run(&receiver);
        let writer = thread::Builder::new().name("log".into()).spawn(run);
        let writer = writer.map_err(|error| error.to_string())?;
        let layer = LogLayer { sender: sender.clone(), levels: Arc::clone(&levels) };
        Ok((Self { sender, levels, writer: Some(writer) }, layer))
    }

    /// Opens the file again, after somebody moved it; says so in the log.
    pub fn reopen(&self) {
        self.tell(Message::Reopen);
    }

    /// Goes on with other options. When their file cannot be opened, the log says so and the old
    /// file stays.
    pub fn reconfigure(&self, options: LogOptions) {
        self.levels.set(&options);
        tracing::callsite::rebuild_interest_cache();
        self.tell(Message::Reconfigure(Box::new(options)));
    }

    /// Waits until what was logged before is written, at most two seconds: call it before the process
    /// exits. False when it was not written: the disk or the terminal hangs.
    pub fn flush(&self) -> bool {
        let (done, wait) = sync_channel(1);
        self.tell(Message::Flush(done)) && wait.recv_timeout(PATIENCE).is_ok()
    }

    /// The control thread may wait for room, but not for ever.
    fn tell(&self, message: Message) -> bool {
        let mut message = message;
        for _ in 0..PATIENCE.as_millis() {
            match self.sender.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        false
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // A writer that hangs is left behind, so that the process can end.
        if self.flush()
            && self.tell(Message::End)
            && let Some(writer) = self.writer.take()
        {
            // Its panic was reported when it happened.
            let _ = writer.join();
        }
    }
}

/// What is enabled, shared by all threads that log.
#[derive(Debug, Default)]
struct Levels {
    debug: AtomicBool,
    trace: AtomicBool,
    dropped: AtomicU64,
}

impl Levels {
    // The switches stand alone, nothing is published with them, so relaxed accesses do.
    fn set(&self, options: &LogOptions) {
        self.debug.store(options.debug, Ordering::Relaxed);
        self.trace.store(options.trace, Ordering::Relaxed);
    }

    /// TRC lines can be on without DBG lines, so a level does not imply those above it.
    fn is_on(&self, level: Level) -> bool {
        match level {
            Level::TRACE => self.trace.load(Ordering::Relaxed),
            Level::DEBUG => self.debug.load(Ordering::Relaxed),
            _ => true,
        }
    }
}

/// What comes to the writer.
#[derive(Debug)]
enum Message {
    Line(Line),
    Reopen,
    Reconfigure(Box<LogOptions>),
    Flush(SyncSender<()>),
    End,
}

#[derive(Debug)]
struct Line {
    at: Timestamp,
    label: &'static str,
    text: String,
}

impl Line {
    fn new(label: &'static str, text: String) -> Self {
        Self { at: Timestamp::now(), label, text }
    }
}

/// Turns events into lines, on the thread that logs.
#[derive(Debug)]
struct LogLayer {
    sender: SyncSender<Message>,
    levels: Arc<Levels>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata.target()) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_ours(metadata.target()) && self.levels.is_on(*metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.levels.is_on(Level::TRACE) {
            LevelFilter::TRACE
        } else if self.levels.is_on(Level::DEBUG) {
            LevelFilter::DEBUG
        } else {
            LevelFilter::INFO
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text { out: String::new() };
        event.record(&mut text);
        let line = Line::new(label(event.metadata()), text.out);
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.levels.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Other crates log for their own developers.
fn is_ours(target: &str) -> bool {
    matches!(target.split("::").next(), Some("ringmesh" | "ring" | FATAL))
}

fn label(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR if metadata.target() == FATAL => "FTL",
        Level::ERROR => "ERR",
        Level::WARN => "WRN",
        Level::INFO => "INF",
        Level::DEBUG => "DBG",
        Level::TRACE => "TRC",
    }
}

/// The message of an event, then its fields as ` name=value`; bounded, and without line breaks.
struct Text {
    out: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A full line takes no more; that is no error.
        let _ = if field.name() == "message" {
            write!(self, "{value:?}")
        } else {
            write!(self, " {}={value:?}", field.name())
        };
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.out.len() >= LINE_BYTES_MAX {
                return Err(fmt::Error);
            }
            if c.is_control() && c != '\t' {
                self.out.extend(c.escape_default());
            } else {
                self.out.push(c);
            }
        }
        Ok(())
    }
}

/// The writer's thread: formats lines and writes them in batches.
struct Writer {
    options: LogOptions,
    levels: Arc<Levels>,
    zone: TimeZone,
    output: Output,
    batch: Vec<u8>,
}

impl Writer {
    fn new(options: LogOptions, levels: Arc<Levels>) -> Result<Self, String> {
        let output = Output::open(options.file.as_deref())?;
        let zone = zone(&options);
        Ok(Self { options, levels, zone, output, batch: Vec::new() })
    }

    fn run(&mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            let mut next = Some(message);
            while let Some(message) = next {
                if !self.handle(message) {
                    return;
                }
                next = receiver.try_recv().ok();
            }
            self.say_dropped();
            self.write_out();
        }
    }

    /// Handles one message; false when it was the last.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Line(line) => self.line(&line),
            Message::Reopen => self.reopen(),
            Message::Reconfigure(options) => self.reconfigure(*options),
            Message::Flush(done) => {
                self.say_dropped();
                self.write_out();
                // Who asked may have given up.
                let _ = done.send(());
            }
            Message::End => {
                self.say_dropped();
                self.write_out();
                return false;
            }
        }
        true
    }

    fn line(&mut self, line: &Line) {
        self.append(line);
        // With a bound on the file every line is written at once, so that none goes past it.
        if self.options.file_bytes_max > 0 || self.batch.len() >= BATCH_BYTES_MAX {
            self.write_out();
            self.rotate_if_long();
        }
    }

    fn say(&mut self, label: &'static str, text: String) {
        self.append(&Line::new(label, text));
    }

    fn append(&mut self, line: &Line) {
        // Writing into memory cannot fail.
        let _ = write!(self.batch, "[{}] ", std::process::id());
        if self.options.time {
            let at = line.at.to_zoned(self.zone.clone());
            let _ = write!(self.batch, "{} ", at.strftime("%Y/%m/%d %H:%M:%S%.6f"));
        }
        let _ = writeln!(self.batch, "[{}] {}", line.label, line.text);
    }

    fn say_dropped(&mut self) {
        let dropped = self.levels.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.say("WRN", format!("log lines dropped, the log is too slow count={dropped}"));
        }
    }

    /// Nobody could be told of a failure, so there is nobody to tell.
    fn write_out(&mut self) {
        self.output.write(&self.batch);
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES_MAX);
    }

    fn reopen(&mut self) {
        self.write_out();
        let Some(path) = self.options.file.clone() else {
            return self.say("INF", "File log re-open ignored, not a file logger".into());
        };
        match Output::open(Some(&path)) {
            Ok(output) => {
                self.output = output;
                self.say("INF", "File log re-opened".into());
            }
            Err(error) => self.say("ERR", format!("Unable to re-open the log file: {error}")),
        }
    }

    fn reconfigure(&mut self, mut options: LogOptions) {
        self.write_out();
        if options.file != self.options.file {
            match Output::open(options.file.as_deref()) {
                Ok(output) => self.output = output,
                Err(error) => {
                    self.say("ERR", format!("Unable to open the log file: {error}"));
                    options.file = self.options.file.take();
                }
            }
        }
        self.zone = zone(&options);
        self.options = options;
    }

    fn rotate_if_long(&mut self) {
        let Some(path) = self.options.file.clone() else {
            return;
        };
        if !self.output.is_longer_than(self.options.file_bytes_max) {
            return;
        }
        match self.rotate(&path) {
            Ok(backup) => {
                self.say("INF", format!("Rotated log, backup saved as \"{}\"", backup.display()));
                self.purge(&path);
            }
            Err(error) => {
                self.output.postpone();
                self.say("ERR", format!("Unable to rotate the log, trying later: {error}"));
            }
        }
        self.write_out();
    }

    /// Puts the file aside under a name with the time, and opens a new one.
    fn rotate(&mut self, path: &Path) -> Result<PathBuf, String> {
        let now = Timestamp::now().to_zoned(self.zone.clone());
        let mut backup = path.as_os_str().to_owned();
        backup.push(now.strftime(".%Y.%m.%d.%H.%M.%S%.9f").to_string());
        let backup = PathBuf::from(backup);
        fs::rename(path, &backup).map_err(|error| error.to_string())?;
        self.output = Output::open(Some(path))?;
        Ok(backup)
    }

    /// Removes the oldest files beyond the number that is kept.
    fn purge(&mut self, path: &Path) {
        if self.options.files_max == 0 {
            return;
        }
        let backups = backups(path).unwrap_or_default();
        let kept = self.options.files_max - 1;
        let surplus = backups.len().saturating_sub(kept);
        for backup in backups.into_iter().take(surplus) {
            let name = backup.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match fs::remove_file(&backup) {
                Ok(()) => self.say("INF", format!("Purged log file \"{name}\"")),
                Err(error) => {
                    self.say("ERR", format!("Unable to purge log file \"{name}\": {error}"));
                }
            }
        }
    }
}

/// The files put aside, the oldest first: their names differ in the time only.
fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut prefix = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    prefix.push('.');
    let mut found = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or_else(|| Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name();
        let stamp = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if stamp.is_some_and(is_stamp) {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_stamp(text: &str) -> bool {
    let mut parts = text.split('.');
    parts.clone().count() == 7
        && parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn zone(options: &LogOptions) -> TimeZone {
    if options.utc { TimeZone::UTC } else { TimeZone::system() }
}

/// Where the lines go.
#[derive(Debug)]
enum Output {
    Stderr,
    File { file: File, bytes: u64, rotate_at: u64 },
}

impl Output {
    /// Opens a file, or standard error without one. The error is what to say.
    fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self::Stderr);
        };
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
        let opened = file.and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened
            .map_err(|error| format!("error opening file: {}", files::open_error(path, &error)))?;
        Ok(Self::File { file, bytes, rotate_at: 0 })
    }

    fn write(&mut self, batch: &[u8]) {
        match self {
            // A closed standard error or a full disk must not stop the server.
            Self::Stderr => drop(io::stderr().write_all(batch)),
            Self::File { file, bytes, .. } => {
                drop(file.write_all(batch));
                *bytes += batch.len() as u64;
            }
        }
    }

    const fn is_longer_than(&self, bytes_max: u64) -> bool {
        match self {
            Self::Stderr => false,
            Self::File { bytes, rotate_at, .. } => *bytes > bytes_max && *bytes > *rotate_at,
        }
    }

    /// After a failure the next attempt is made at twice the size.
    const fn postpone(&mut self) {
        if let Self::File { bytes, rotate_at, .. } = self {
            *rotate_at = bytes.saturating_mul(2);
        }
    }
}

/// How long the control thread waits for the writer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lines that may wait for the writer: a few MB at most in practice, 64 MB at worst.
const LINES_MAX: usize = 4096;

/// The longest text of a line.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What is written at once.
const BATCH_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{debug, error, info, trace, warn};

    /// Runs `log` with a log in a file, and gives back the files' lines, the oldest first.
    fn logged(options: &LogOptions, log: impl FnOnce(&Logging)) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.log");
        let options = LogOptions { file: Some(path.clone()), ..options.clone() };
        let (logging, layer) = Logging::start(options).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || log(&logging));
        drop(logging);
        let mut files = backups(&path).unwrap();
        files.push(path);
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        text.lines().map(str::to_owned).collect()
    }

    fn untimed() -> LogOptions {
        LogOptions { time: false, ..LogOptions::default() }
    }

    /// The lines without the process's number.
    fn texts(lines: &[String]) -> Vec<&str> {
        let pid = format!("[{}] ", std::process::id());
        lines.iter().map(|line| line.strip_prefix(&pid).unwrap()).collect()
    }

    #[test]
    fn each_level_has_its_label_and_fields_follow_the_message() {
        let all = LogOptions { debug: true, trace: true, ..untimed() };
        let lines = logged(&all, |_| {
            info!("Server is ready");
            warn!(cid = 12, account = "A", "slow consumer, closing");
            error!("an error");
            error!(target: FATAL, "{} is over", "it");
            debug!("for developers");
            trace!("every message");
        });
        let expected = [
            "[INF] Server is ready",
            "[WRN] slow consumer, closing cid=12 account=A",
            "[ERR] an error",
            "[FTL] it is over",
            "[DBG] for developers",
            "[TRC] every message",
        ];
        assert_eq!(texts(&lines), expected);
    }

    #[test]
    fn debug_and_trace_are_switched_apart() {
        let check = |debug, trace, expected: &[&str]| {
            let options = LogOptions { debug, trace, ..untimed() };
            let lines = logged(&options, |_| {
                debug!("d");
                trace!("t");
                info!(target: "hyper::proto", "somebody else's");
            });
            assert_eq!(texts(&lines), expected);
        };
        check(false, false, &[]);
        check(true, false, &["[DBG] d"]);
        check(false, true, &["[TRC] t"]);
    }

    #[test]
    fn a_line_begins_with_process_and_time() {
        let options = LogOptions { utc: true, ..LogOptions::default() };
        let lines = logged(&options, |_| info!("x"));
        let shape: String =
            lines[0].chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let pid = "0".repeat(std::process::id().to_string().len());
        assert_eq!(shape, format!("[{pid}] 0000/00/00 00:00:00.000000 [INF] x"));
    }

    #[test]
    fn what_a_peer_sends_never_makes_a_second_line() {
        let lines = logged(&untimed(), |_| {
            info!(name = "a\nb\u{1b}[31m", "c\r\nd");
            info!("{}", "x".repeat(2 * LINE_BYTES_MAX));
        });
        let lines = texts(&lines);
        assert_eq!(lines[0], "[INF] c\\r\\nd name=a\\nb\\u{1b}[31m");
        assert_eq!(lines[1].len(), LINE_BYTES_MAX + "[INF] ".len());
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn options_change_while_the_log_is_open() {
        let lines = logged(&untimed(), |logging| {
            debug!("too early");
            let directory = tempfile::tempdir().unwrap();
            let nowhere = directory.path().join("no/such/directory");
            logging.reconfigure(LogOptions { file: Some(nowhere), debug: true, ..untimed() });
            debug!("now");
        });
        let lines = texts(&lines);
        assert!(lines[0].starts_with("[ERR] Unable to open the log file: "), "{lines:?}");
        assert_eq!(lines[1..], ["[DBG] now"]);
    }

    #[test]
    fn a_file_that_was_moved_is_left_alone_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("s.log"), directory.path().join("moved"));
        let options = LogOptions { file: Some(path.clone()), ..untimed() };
        let (logging, layer) = Logging::start(options).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            info!("before");
            assert!(logging.flush());
            fs::rename(&path, &moved).unwrap();
            logging.reopen();
            info!("after");
            assert!(logging.flush());
        });
        assert!(fs::read_to_string(&moved).unwrap().ends_with("[INF] before\n"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("[INF] File log re-opened\n") && text.ends_with("[INF] after\n"));
    }

    #[test]
    fn a_long_file_is_put_aside_and_the_oldest_go() {
        let options = LogOptions { file_bytes_max: 200, files_max: 3, ..untimed() };
        let lines = logged(&options, |_| (0..40).for_each(|n| info!("line {n} of many")));
        let said = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert!(said("Rotated log, backup saved as \"") > 0, "{lines:?}");
        assert!(said("Purged log file \"s.log.2") > 0, "{lines:?}");
        let last = lines.iter().rfind(|line| line.contains(" of many")).unwrap();
        assert!(last.ends_with("line 39 of many"));
        assert!(said("line 0 of many") == 0, "the oldest file is gone");
    }

    #[test]
    fn a_full_channel_drops_lines_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.log");
        let options = LogOptions { file: Some(path.clone()), ..untimed() };
        let levels = Arc::new(Levels::default());
        let (sender, receiver) = sync_channel(2);
        let layer = LogLayer { sender: sender.clone(), levels: Arc::clone(&levels) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            (0..5).for_each(|n| info!("line {n}"));
        });
        let mut writer = Writer::new(options, levels).unwrap();
        drop(sender);
        writer.run(&receiver);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let expected = [
            "[INF] line 0",
            "[INF] line 1",
            "[WRN] log lines dropped, the log is too slow count=3",
        ];
        assert_eq!(texts(&lines), expected);
    }
}
