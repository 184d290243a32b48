//! Readiness of many sockets: epoll on Linux, kqueue elsewhere. Each event is reported once, when something changes
//! (edge-triggered), so its receiver has to read or write until that would block.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What to report of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That it is readable.
    Read,
    /// That it is readable or writable.
    ReadWrite,
    /// Only that the peer has closed it.
    End,
}

/// What has changed.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// The number with which the socket was added.
    pub token: u64,
    /// Data or the end can be read.
    pub is_readable: bool,
    /// The peer has closed its sending side, or all of the connection.
    pub is_ended: bool,
}

/// Whether a socket can be read from, or accepted from, now (`poll(2)`). Shown by tests/it/door/limits.rs.
pub fn is_readable(socket: &impl AsRawFd) -> bool {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `entry` is one valid entry for the call, which does not wait.
    unsafe { libc::poll(&mut entry, 1, 0) > 0 }
}

/// Events reported at once.
const AT_ONCE: usize = 64;

/// A set of watched sockets.
#[derive(Debug)]
pub struct Poll(OwnedFd);

#[cfg(target_os = "linux")]
impl Poll {
    /// Watches nothing yet (`epoll_create1(2)`).
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Poll> {
        // SAFETY: the call takes no pointer; a result of 0 or more is a new descriptor that nobody else owns.
        unsafe {
            let descriptor = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            check(descriptor)?;
            Ok(Poll(OwnedFd::from_raw_fd(descriptor)))
        }
    }

    /// Starts watching a socket.
    ///
    /// # Errors
    /// If the system has no memory, or no place for another one.
    pub fn add(&self, socket: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_raw_fd(), token, interest)
    }

    /// Watches a socket for something else. What is there already is told once more.
    ///
    /// # Errors
    /// If the socket is not watched.
    pub fn change(&self, socket: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_raw_fd(), token, interest)
    }

    /// Stops watching a socket.
    pub fn remove(&self, socket: &impl AsRawFd) {
        // If it is not watched, that is fine too.
        let _ = self.control(libc::EPOLL_CTL_DEL, socket.as_raw_fd(), 0, Interest::End);
    }

    fn control(
        &self,
        operation: i32,
        socket: RawFd,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let wanted = match interest {
            Interest::Read => libc::EPOLLIN,
            Interest::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
            Interest::End => 0,
        };
        let mut event = libc::epoll_event {
            events: (wanted | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
            u64: token,
        };
        // SAFETY: `event` is valid for the call (`epoll_ctl(2)`); a descriptor that is not open gives an error.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, socket, &mut event) })
    }

    /// Waits until something changes, at most for `timeout`, and replaces the content of `events`. A signal may end the
    /// wait early.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut told = [libc::epoll_event { events: 0, u64: 0 }; AT_ONCE];
        // Rounded up: after the wait the deadline has to be over.
        let milliseconds = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: pointer and length are those of `told` (`epoll_wait(2)`).
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                told.as_mut_ptr(),
                AT_ONCE as i32,
                milliseconds,
            )
        };
        ignore_signal(check(count))?;
        let count = usize::try_from(count).unwrap_or(0);
        events.extend(told.iter().take(count).map(|event| {
            let is = |flags: i32| event.events & flags as u32 != 0;
            Readiness {
                token: event.u64,
                is_readable: is(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
                is_ended: is(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
            }
        }));
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Poll {
    /// Watches nothing yet (`kqueue(2)`).
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Poll> {
        // SAFETY: the calls take no pointer; a result of 0 or more is a new descriptor that nobody else owns.
        unsafe {
            let descriptor = libc::kqueue();
            check(descriptor)?;
            let queue = OwnedFd::from_raw_fd(descriptor);
            check(libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC))?;
            Ok(Poll(queue))
        }
    }

    /// Starts watching a socket.
    ///
    /// # Errors
    /// If the system has no memory, or no place for another one.
    pub fn add(&self, socket: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.change(socket, token, interest)
    }

    /// Watches a socket for something else. What is there already is told once more.
    ///
    /// # Errors
    /// As `add`.
    pub fn change(&self, socket: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        let socket = socket.as_raw_fd();
        // Only the end of a stream's connection matters: data alone never reaches a mark this high.
        let (flags, mark) = match interest {
            Interest::End => (libc::NOTE_LOWAT, i32::MAX),
            _ => (0, 0),
        };
        self.control(socket, token, libc::EVFILT_READ, libc::EV_ADD, flags, mark)?;
        if interest == Interest::ReadWrite {
            return self.control(socket, token, libc::EVFILT_WRITE, libc::EV_ADD, 0, 0);
        }
        // It may not have been watched for that.
        let _ = self.control(socket, token, libc::EVFILT_WRITE, libc::EV_DELETE, 0, 0);
        Ok(())
    }

    /// Stops watching a socket.
    pub fn remove(&self, socket: &impl AsRawFd) {
        for filter in [libc::EVFILT_READ, libc::EVFILT_WRITE] {
            // It may not have been watched for that.
            let _ = self.control(socket.as_raw_fd(), 0, filter, libc::EV_DELETE, 0, 0);
        }
    }

    fn control(
        &self,
        socket: RawFd,
        token: u64,
        filter: i16,
        action: u16,
        flags: u32,
        mark: i32,
    ) -> io::Result<()> {
        let mut change = empty();
        change.ident = socket as usize;
        change.filter = filter;
        change.flags = action | libc::EV_CLEAR;
        change.fflags = flags;
        change.data = mark as _;
        change.udata = token as usize as _;
        // SAFETY: `change` is valid for the call, and no events are asked for (`kqueue(2)`).
        check(unsafe {
            libc::kevent(
                self.0.as_raw_fd(),
                &change,
                1,
                std::ptr::null_mut(),
                0,
                std::ptr::null(),
            )
        })
    }

    /// Waits until something changes, at most for `timeout`, and replaces the content of `events`. A signal may end the
    /// wait early.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut told = [empty(); AT_ONCE];
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as _,
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: pointers and length are those of the locals (`kqueue(2)`).
        let count = unsafe {
            libc::kevent(
                self.0.as_raw_fd(),
                std::ptr::null(),
                0,
                told.as_mut_ptr(),
                AT_ONCE as i32,
                limit,
            )
        };
        ignore_signal(check(count))?;
        let count = usize::try_from(count).unwrap_or(0);
        events.extend(told.iter().take(count).map(|event| Readiness {
            token: event.udata as usize as u64,
            is_readable: event.filter == libc::EVFILT_READ,
            is_ended: event.flags & libc::EV_EOF != 0,
        }));
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
fn empty() -> libc::kevent {
    // SAFETY: a struct of numbers and a pointer that only we read may be all zeros.
    unsafe { std::mem::zeroed() }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn ignore_signal(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result,
    }
}
