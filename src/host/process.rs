//! The process: its signals, limits, memory, and what its parent has left to it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::time::Duration;

/// Keeps SIGINT, SIGTERM and SIGHUP from ending the process, in this thread and all threads that it starts
/// (`pthread_sigmask(3)`). The same for SIGXFSZ: a write beyond the limit of a file's size then fails, and says why
/// (`setrlimit(2)`). Must be called before any thread is started. Shown by tests/it/shutdown.rs, access_reload.rs and
/// disk_faults.rs.
///
/// # Errors
/// What the system says.
pub fn block_signals() -> io::Result<()> {
    let mut set = awaited_signals();
    // SAFETY: `set` is initialised, and `sigaddset` does not fail for this signal.
    unsafe { libc::sigaddset(&mut set, libc::SIGXFSZ) };
    // SAFETY: `set` is initialised, and the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To stop. Holds the signal's name.
    Stop(&'static str),
    /// To read the rules again: SIGHUP.
    Reload,
}

/// Waits for one of the blocked signals (`sigwait(3)`).
///
/// # Errors
/// What the system says.
pub fn wait_for_signal() -> io::Result<Signal> {
    let set = awaited_signals();
    let mut signal = 0;
    // SAFETY: both pointers are to initialised locals.
    match unsafe { libc::sigwait(&set, &mut signal) } {
        0 if signal == libc::SIGHUP => Ok(Signal::Reload),
        0 if signal == libc::SIGINT => Ok(Signal::Stop("SIGINT")),
        0 => Ok(Signal::Stop("SIGTERM")),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn awaited_signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set, `sigaddset` changes it; neither fails for these signals
    // (`sigsetops(3)`).
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGHUP);
        set.assume_init()
    }
}

/// Raises the limit of open descriptors to `wanted`, or as far as the system lets us, and returns it (`getrlimit(2)`).
/// A connection takes one, and 1,024 is still a common default.
pub fn raise_descriptor_limit(wanted: usize) -> usize {
    let Some(limit) = descriptor_limits() else {
        return 1024;
    };
    let wanted = libc::rlim_t::try_from(wanted).unwrap_or(libc::RLIM_INFINITY);
    // The first one needs a privilege if it is above the hard limit; the second does not.
    let raised = [limit.rlim_max.max(wanted), limit.rlim_max]
        .into_iter()
        .find(|&most| {
            let raised = libc::rlimit {
                rlim_cur: most,
                rlim_max: most,
            };
            // SAFETY: the struct is valid for the call; a failing call changes nothing.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 }
        });
    usize::try_from(raised.unwrap_or(limit.rlim_cur)).unwrap_or(usize::MAX)
}

/// The limit of open descriptors (`getrlimit(2)`). Shown by tests/it/metrics.rs.
pub fn descriptor_limit() -> Option<usize> {
    usize::try_from(descriptor_limits()?.rlim_cur).ok()
}

/// The soft and the hard limit of open descriptors.
fn descriptor_limits() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is valid for the call.
    let is_known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 };
    is_known.then_some(limit)
}

/// The number of open descriptors (`proc_pid_fd(5)`), if the system tells.
pub fn open_descriptors() -> Option<usize> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is for this look.
    Some(open.saturating_sub(1))
}

/// The processor time that this process has used, in user and in system mode (`getrusage(2)`). Shown by
/// tests/it/metrics.rs.
pub fn cpu_time() -> Option<Duration> {
    // SAFETY: a struct of numbers may be all zeros, and is valid for the call.
    let (result, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &mut usage), usage)
    };
    let part = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    (result == 0).then(|| part(usage.ru_utime) + part(usage.ru_stime))
}

/// Takes over a socket that our parent has left open for us (`fcntl(2)`). Nothing else in this process may use the
/// descriptor. Shown by tests/it/socket_activation.rs.
///
/// # Errors
/// If there is no such descriptor.
pub fn inherited_socket(descriptor: RawFd) -> io::Result<socket2::Socket> {
    // SAFETY: at worst it is a descriptor that is not open, and the call says so.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the protocol nobody but us owns it.
    Ok(unsafe { socket2::Socket::from_raw_fd(descriptor) })
}

/// Random bytes that nobody can guess (`getrandom(2)`, on other systems `getentropy(3)`), even if no `/dev` is mounted.
///
/// # Errors
/// What the system says.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: pointer and length are those of `bytes`; up to 256 bytes are given whole.
    #[cfg(target_os = "linux")]
    let is_filled =
        usize::try_from(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) }) == Ok(N);
    // SAFETY: as above.
    #[cfg(not(target_os = "linux"))]
    let is_filled = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), N) } == 0;
    if is_filled {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether this process may write to what is there (`access(2)`), as far as the system tells before it is tried.
pub fn may_write(path: &std::path::Path) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
    // SAFETY: the path is a string that ends, and lives for the call.
    path.is_ok_and(|path| unsafe { libc::access(path.as_ptr(), libc::W_OK) } == 0)
}

/// Locks a file against all other processes, until the file is closed or the process ends (`flock(2)`). Returns whether
/// it was free. Shown by tests/it/disk_faults.rs.
///
/// # Errors
/// What the system says.
pub fn lock_file(file: &std::fs::File) -> io::Result<bool> {
    // SAFETY: the descriptor is open for as long as the file is borrowed.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock {
        return Ok(false);
    }
    Err(error)
}

/// Gives freed memory back to the system (`malloc_trim(3)`). Otherwise glibc keeps it, scattered over the heaps of many
/// threads, and grows with each crowd that comes and goes. Takes some milliseconds. Shown by tests/it/alone/soak.rs.
pub fn give_memory_back() {
    // SAFETY: it takes the allocator's own locks, and may be called at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// If address space is limited (`RLIMIT_AS`), makes all threads share one heap (`mallopt(3)`): glibc reserves 64 MiB
/// for each of up to eight per core, and nothing would be left. Must be called before any thread is started. Shown by
/// tests/it/hostile_machine.rs.
pub fn spare_address_space() {
    // SAFETY: the struct is valid for the call, and `mallopt` takes numbers.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        let is_known = libc::getrlimit(libc::RLIMIT_AS, &mut limit) == 0;
        if is_known && limit.rlim_cur != libc::RLIM_INFINITY {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Whether the system would provide this many bytes of address space, which a limit or strict accounting may prevent
/// (`mmap(2)`). Takes none of it. Shown by tests/it/hostile_machine.rs.
pub fn has_memory(bytes: usize) -> bool {
    // SAFETY: the system chooses the place, nothing uses it, and it is given back as it was given.
    unsafe {
        let place = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        );
        place != libc::MAP_FAILED && libc::munmap(place, bytes) == 0
    }
}

/// The size of a memory page, in bytes (`sysconf(3)`).
pub fn page_size() -> u64 {
    // SAFETY: it only tells a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
