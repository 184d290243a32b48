//! The log: simple_logger's lines on standard error, written by a thread of their own.
//!
//! Logging only queues a line: a stopped terminal, a full disk or a closed pipe behind standard error must not block or
//! end anything. (simple_logger writes line by line in the caller's thread, and panics when it cannot.) When the queue
//! is full, the oldest line is dropped, and the number of dropped lines is logged: so the last lines before an exit,
//! which say why, are kept.

mod caught;
mod logged;

pub use caught::{catch_panic, silence_caught_panics};
pub use logged::Logged;

use crate::host;
use crate::locks::lock;
use ::log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The name of the writing thread. Its own panics cannot be logged.
pub const THREAD: &str = "log";

/// Lines that may wait: a few hundred KiB.
const QUEUE: usize = 4096;

/// After a line the thread waits this long for more: many lines a second wake it no more often.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the last lines may take when the program ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts the thread that writes the lines up to this level.
///
/// # Errors
/// If the system cannot start a thread.
pub fn start(level: LevelFilter) -> std::io::Result<()> {
    let waiting = Arc::new(LineQueue::default());
    let own = waiting.clone();
    let writer = host::start(THREAD, move || own.write_for_ever(&lines(level)))?;
    let queued = QueuedLog {
        level,
        waiting,
        writer,
    };
    // Only a second logger would be refused, and this is called once.
    let _ = ::log::set_boxed_logger(Box::new(queued));
    ::log::set_max_level(level);
    Ok(())
}

fn lines(level: LevelFilter) -> SimpleLogger {
    let lines = SimpleLogger::new().with_level(level);
    if level >= LevelFilter::Debug {
        return lines;
    }
    // Its only error is a failed `accept`, which cannot happen on its line.
    lines.with_module_level("tiny_http", LevelFilter::Off)
}

struct QueuedLog {
    level: LevelFilter,
    waiting: Arc<LineQueue>,
    writer: Thread,
}

impl Log for QueuedLog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) && self.waiting.add(record) {
            self.writer.unpark();
        }
    }

    /// Waits until all earlier lines are written, for at most a second. Others may go on logging.
    fn flush(&self) {
        let end = Instant::now() + LAST_WORDS;
        let mut queue = lock(&self.waiting.queue);
        let last = queue.added;
        while queue.done < last && Instant::now() < end {
            self.writer.unpark();
            let waited = self.waiting.written.wait_timeout(queue, PAUSE);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct LogLine {
    level: Level,
    target: &'static str,
    text: String,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<LogLine>,
    /// Lines that were dropped, and are not reported yet.
    lost: u64,
    /// Lines so far, and how many of them were written or dropped.
    added: u64,
    done: u64,
    /// The thread has to be woken for the next line.
    is_asleep: bool,
}

#[derive(Default)]
struct LineQueue {
    /// Held for a few lines, never during a write.
    queue: Mutex<Queue>,
    written: Condvar,
}

impl LineQueue {
    /// Queues a line. Returns whether the thread has to be woken.
    fn add(&self, record: &Record) -> bool {
        let line = LogLine {
            level: record.level(),
            target: record.module_path_static().unwrap_or_default(),
            text: record.args().to_string(),
        };
        let mut queue = lock(&self.queue);
        if queue.lines.len() == QUEUE {
            queue.lines.pop_front();
            queue.lost += 1;
        }
        queue.lines.push_back(line);
        queue.added += 1;
        std::mem::take(&mut queue.is_asleep)
    }

    fn write_for_ever(&self, to: &SimpleLogger) {
        loop {
            let (lines, lost, last) = self.take();
            if lost > 0 {
                let text = format!("event=log_lost lines={lost}");
                write(to, Level::Warn, module_path!(), &text);
            }
            for line in &lines {
                write(to, line.level, line.target, &line.text);
            }
            self.rest(last);
        }
    }

    /// All lines, the number dropped before them, and the number so far.
    fn take(&self) -> (VecDeque<LogLine>, u64, u64) {
        let mut queue = lock(&self.queue);
        let lines = std::mem::take(&mut queue.lines);
        (lines, std::mem::take(&mut queue.lost), queue.added)
    }

    /// Records that the first `last` lines are done, and sleeps: for a moment if there was work, or else until woken.
    fn rest(&self, last: u64) {
        let mut queue = lock(&self.queue);
        let was_busy = queue.done < last;
        queue.done = last;
        queue.is_asleep = !was_busy && queue.lines.is_empty();
        let may_sleep = queue.is_asleep;
        drop(queue);
        self.written.notify_all();
        if may_sleep {
            std::thread::park();
        } else if was_busy {
            std::thread::park_timeout(PAUSE);
        }
    }
}

fn write(to: &SimpleLogger, level: Level, target: &str, text: &str) {
    // It panics if standard error takes nothing. Then the line is lost, and nobody can be told.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        to.log(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{text}"))
                .build(),
        );
    }));
}
