//! Threads: those of which there is one, or a few, and those of which there may be thousands.

use std::cell::Cell;
use std::ffi::{c_void, CStr};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread::Thread;

thread_local! {
    static NAME: Cell<Option<&'static CStr>> = const { Cell::new(None) };
}

/// The name that `spawn` has given this thread; std does not know of it. Shown by tests/it/vital.rs.
pub fn spawned_name() -> Option<&'static str> {
    NAME.get().and_then(|name| name.to_str().ok())
}

/// Prepares the process for thousands of sleeping threads. Must be called before any thread is started.
///
/// From 6.16 on, Linux keeps them in a table of each process, with four slots for each core, and at least 16: whoever wakes
/// one thread searches through hundreds. This gives it a larger one, which takes 64 KiB of the kernel's memory
/// (`PR_FUTEX_HASH(2const)`). On two cores, one publisher beside 10,000 streams gets 9,600 messages a second through with
/// it, and 5,100 without. Older kernels refuse; they have one table for all. Shown by tests/it/alone/crowds.rs.
pub fn prepare_for_many() {
    #[cfg(target_os = "linux")]
    {
        const FUTEX_HASH: libc::c_int = 78;
        const SET_SLOTS: libc::c_ulong = 1;
        const SLOTS: libc::c_ulong = 1024;
        const NONE: libc::c_ulong = 0;
        // SAFETY: it takes numbers, and only the kernel's memory changes.
        unsafe { libc::prctl(FUTEX_HASH, SET_SLOTS, SLOTS, NONE, NONE) };
    }
}

/// Starts a thread that nobody joins.
///
/// # Errors
/// If the system gives no thread.
pub fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    // One type for all: std's part would be in the program once for each.
    let run: Box<dyn FnOnce() + Send> = Box::new(run);
    let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
    Ok(thread.thread().clone())
}

/// What a thread begins with.
struct Beginning<W> {
    name: &'static CStr,
    run: fn(W),
    work: W,
}

/// As `start`, for one of thousands (`pthread_create(3)`), with this much virtual memory for its stack. The panic hook
/// has said everything when its work panics; then it ends like any other.
///
/// std's threads each have a second stack, on which a handler tells that the first one has overflowed. That is two more
/// mappings, of which a process has 65,530 by default on Linux (`vm.max_map_count`), and eight more system calls. The
/// guard page below the stack is here, too: an overflow ends the process. Shown by
/// tests/it/publish_subscribe.rs.
///
/// # Errors
/// If the system gives no thread; the work comes back.
pub fn spawn<W: Send + 'static>(
    name: &'static CStr,
    stack: usize,
    run: fn(W),
    work: W,
) -> Result<(), (io::Error, W)> {
    let beginning = Box::into_raw(Box::new(Beginning { name, run, work }));
    match create(stack, begin::<W>, beginning.cast()) {
        Ok(()) => Ok(()),
        Err(error) => {
            // SAFETY: made above, and no thread has it.
            let beginning = unsafe { Box::from_raw(beginning) };
            Err((error, beginning.work))
        }
    }
}

fn create(
    stack: usize,
    begin: extern "C" fn(*mut c_void) -> *mut c_void,
    with: *mut c_void,
) -> io::Result<()> {
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: `attributes` is initialised by the first call and destroyed by the last, `thread` is only written to, and
    // `begin` takes what it is given here.
    unsafe {
        check(libc::pthread_attr_init(attributes))?;
        let created = check(libc::pthread_attr_setstacksize(attributes, stack))
            .and_then(|()| {
                let detached = libc::PTHREAD_CREATE_DETACHED;
                check(libc::pthread_attr_setdetachstate(attributes, detached))
            })
            .and_then(|()| {
                let thread = thread.as_mut_ptr();
                check(libc::pthread_create(thread, attributes, begin, with))
            });
        libc::pthread_attr_destroy(attributes);
        created
    }
}

extern "C" fn begin<W>(beginning: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` has made it for this thread alone.
    let Beginning { name, run, work } = *unsafe { Box::from_raw(beginning.cast::<Beginning<W>>()) };
    NAME.set(Some(name));
    show_name(name);
    // Nothing may unwind into C.
    let _ = catch_unwind(AssertUnwindSafe(|| run(work)));
    std::ptr::null_mut()
}

/// Names this thread for `ps` and debuggers (`prctl(2)`). Elsewhere it has none.
fn show_name(name: &'static CStr) {
    #[cfg(target_os = "linux")]
    // SAFETY: the name is a string with an end, and the call only reads it.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// These calls return the error.
fn check(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
