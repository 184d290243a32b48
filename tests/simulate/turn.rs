//! Simulated threads that wait in the middle of what they do: real ones, of which one runs at a time, and only while the
//! simulation gives it a turn. So a run depends on its seed alone.

use crate::hub::time::{self, Clock};
use crate::random::Random;
use crate::redis::Net;
use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};

/// What a task waits for.
struct Wait {
    until_ms: u64,
    is_over: Box<dyn Fn() -> bool + Send>,
}

struct Turn {
    is_tasks: AtomicBool,
    must_end: AtomicBool,
    has_ended: AtomicBool,
    wait: Mutex<Wait>,
    simulation: Thread,
}

/// What all tasks of a run have in common.
#[derive(Clone)]
struct Place {
    clock: Arc<Clock>,
    net: Arc<Mutex<Net>>,
    random: Arc<Mutex<Random>>,
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    static TURN: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
    static STARTED: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a run, in which tasks meet this network.
pub fn begin(net: Net, random: Random) {
    PLACE.set(Some(Place {
        clock: time::clock(),
        net: Arc::new(Mutex::new(net)),
        random: Arc::new(Mutex::new(random)),
    }));
    STARTED.take();
}

fn place() -> Place {
    let place = PLACE.with_borrow(Clone::clone);
    place.expect("a run has begun")
}

/// The network of this run.
pub fn net() -> Arc<Mutex<Net>> {
    place().net
}

/// What `look` finds in the network.
pub fn with_net<T>(look: impl FnOnce(&mut Net) -> T) -> T {
    look(&mut locked(&net()))
}

/// What `draw` makes of the tasks' random numbers.
pub fn with_random<T>(draw: impl FnOnce(&mut Random) -> T) -> T {
    draw(&mut locked(&place().random))
}

/// A simulated thread. Dropped, it ends where it waits.
pub struct Task {
    turn: Arc<Turn>,
    thread: Option<JoinHandle<()>>,
}

/// What a task that has to end unwinds with.
struct Ended;

/// Makes a task, which begins with its first turn.
pub fn start(run: impl FnOnce() + Send + 'static) -> Task {
    let place = place();
    let turn = Arc::new(Turn {
        is_tasks: AtomicBool::new(false),
        must_end: AtomicBool::new(false),
        has_ended: AtomicBool::new(false),
        wait: Mutex::new(Wait {
            until_ms: 0,
            is_over: Box::new(|| true),
        }),
        simulation: std::thread::current(),
    });
    let own = turn.clone();
    let thread = std::thread::spawn(move || {
        time::set_clock(place.clock.clone());
        PLACE.set(Some(place));
        TURN.set(Some(own.clone()));
        // A task that panics has ended, and that is seen.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            own.await_turn();
            run();
        }));
        own.has_ended.store(true, Ordering::SeqCst);
        own.hand_back();
    });
    Task {
        turn,
        thread: Some(thread),
    }
}

/// As `start`, for whoever calls `started` next.
pub fn start_later(run: impl FnOnce() + Send + 'static) {
    let task = start(run);
    STARTED.with_borrow_mut(|started| started.push(task));
}

/// The tasks of `start_later` since the last call.
pub fn started() -> Vec<Task> {
    STARTED.take()
}

impl Turn {
    fn await_turn(&self) {
        while !self.is_tasks.load(Ordering::SeqCst) {
            std::thread::park();
        }
        if self.must_end.load(Ordering::SeqCst) {
            resume_unwind(Box::new(Ended));
        }
    }

    fn hand_back(&self) {
        self.is_tasks.store(false, Ordering::SeqCst);
        self.simulation.unpark();
    }
}

impl Task {
    /// Lets it run until it waits. Returns whether it had something to do.
    pub fn step(&self) -> bool {
        if self.has_ended() || !self.is_ready() {
            return false;
        }
        self.run();
        true
    }

    fn is_ready(&self) -> bool {
        let wait = locked(&self.turn.wait);
        time::running_ms() >= wait.until_ms || (wait.is_over)()
    }

    /// Until when it waits, at most.
    pub fn waits_until_ms(&self) -> u64 {
        if self.has_ended() {
            return u64::MAX;
        }
        locked(&self.turn.wait).until_ms
    }

    fn run(&self) {
        let Some(thread) = &self.thread else { return };
        self.turn.is_tasks.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        while self.turn.is_tasks.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }

    pub fn has_ended(&self) -> bool {
        self.turn.has_ended.load(Ordering::SeqCst)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.turn.must_end.store(true, Ordering::SeqCst);
        if !self.has_ended() {
            self.run();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The calling task waits for something, at most so long. The simulation itself never waits.
pub fn wait(until_ms: u64, is_over: impl Fn() -> bool + Send + 'static) {
    let turn = TURN.with_borrow(Clone::clone);
    let Some(turn) = turn else {
        panic!("this would wait for another thread, and there is none");
    };
    if std::thread::panicking() {
        return;
    }
    *locked(&turn.wait) = Wait {
        until_ms,
        is_over: Box::new(is_over),
    };
    turn.hand_back();
    turn.await_turn();
}

/// Others may come in between here.
pub fn offer() {
    let is_task = TURN.with_borrow(Option::is_some);
    if is_task && with_random(|random| random.once_in(4)) {
        wait(0, || true);
    }
}
