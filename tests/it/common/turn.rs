//! Which tests may run at the same time. A test in `alone` runs while no other does; all others run side by side.
//!
//! Whatever starts a server or another large program calls `take`. A test's thread takes its turn once, and gives it back
//! when the test ends. Threads that a test starts run within its turn.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, PoisonError};

struct Machine {
    /// Tests that have a turn.
    running: usize,
    /// Whether the test that has a turn has the machine alone.
    is_alone: bool,
}

static MACHINE: Mutex<Machine> = Mutex::new(Machine {
    running: 0,
    is_alone: false,
});
static CHANGED: Condvar = Condvar::new();

thread_local! {
    static MINE: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// A turn. Given back when it is dropped: when the thread ends.
struct Turn;

impl Turn {
    fn wait(alone: bool) -> Turn {
        // A test that failed has poisoned nothing: the figures are set in one go.
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut machine = CHANGED
            .wait_while(machine, |machine| {
                machine.is_alone || (alone && machine.running > 0)
            })
            .unwrap_or_else(PoisonError::into_inner);
        machine.running += 1;
        machine.is_alone = alone;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        machine.running -= 1;
        machine.is_alone = false;
        CHANGED.notify_all();
    }
}

/// Waits until the calling test may run.
pub fn take() {
    let thread = std::thread::current();
    // libtest names a test's thread after the test. With one test at a time there is none, and no need to wait.
    let Some(test) = thread.name().filter(|name| name.contains("::")) else {
        return;
    };
    MINE.with_borrow_mut(|mine| {
        mine.get_or_insert_with(|| Turn::wait(test.starts_with("alone::")));
    });
}
