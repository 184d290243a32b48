//! System calls that std does not offer. All unsafe code of the crate is in this room; each call names its manual page
//! and the test that shows that it is needed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::time::Duration;

/// Keeps SIGINT, SIGTERM and SIGHUP from ending the process, for this thread and all that it starts (`pthread_sigmask(3)`).
/// Has to be called before any thread is started. Shown by tests/shutdown.rs and tests/access_reload.rs.
///
/// # Errors
/// What the system says.
pub fn block_signals() -> io::Result<()> {
    let set = awaited_signals();
    // SAFETY: `set` is initialised, and the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To stop; holds the signal's name.
    Stop(&'static str),
    /// To read the rules again: SIGHUP.
    Reload,
}

/// Waits for one of the signals that were blocked (`sigwait(3)`).
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

/// Raises the limit of open descriptors to `wanted` if the system lets us, or else as far as it does, and returns it
/// (`getrlimit(2)`). A connection takes two, and 1,024 is still a common default.
pub fn raise_descriptor_limit(wanted: usize) -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: all structs are valid for the calls; a failing call changes nothing.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let wanted = libc::rlim_t::try_from(wanted).unwrap_or(libc::RLIM_INFINITY);
        // The first needs a privilege when it is above the hard limit; the second does not.
        for most in [limit.rlim_max.max(wanted), limit.rlim_max] {
            let raised = libc::rlimit {
                rlim_cur: most,
                rlim_max: most,
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
                limit = raised;
                break;
            }
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// The limit of open descriptors (`getrlimit(2)`). Shown by tests/metrics.rs.
pub fn descriptor_limit() -> Option<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is valid for the call.
    let is_known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 };
    usize::try_from(limit.rlim_cur).ok().filter(|_| is_known)
}

/// Number of open descriptors (`proc_pid_fd(5)`), where the system tells.
pub fn open_descriptors() -> Option<usize> {
    // One of them is for this look.
    Some(
        std::fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1),
    )
}

/// Processor time that this process has used, in user and in system mode (`getrusage(2)`).
/// Shown by tests/metrics.rs.
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

/// Takes over a socket that our parent has left open for us (`fcntl(2)`). Nothing else of this process may use the
/// descriptor. Shown by tests/socket_activation.rs.
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

/// Puts a socket that does not listen in the place of a copy of this listener that somebody else holds, so that the
/// next `accept` there fails, while the listener itself and all its other copies stay as they are (`dup2(2)`). Returns
/// whether the descriptor was such a copy. Shown by tests/socket_activation.rs.
///
/// # Errors
/// If no descriptor is left.
pub fn stop_accepting(copy: RawFd, listener: RawFd) -> io::Result<bool> {
    // Its holder may have closed it, and the number may stand for something else.
    if cookie_of(copy).is_none() || cookie_of(copy) != cookie_of(listener) {
        return Ok(false);
    }
    let deaf = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // SAFETY: the holder keeps an open descriptor of the same kind; only what it stands for changes.
    if unsafe { libc::dup2(deaf.as_raw_fd(), copy) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}

/// Fills the buffer with random bytes that nobody can guess (`getrandom(2)`, on other systems `getentropy(3)`), also
/// where no `/dev` is mounted.
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

/// Makes tiny_http believe that `rest`, the number of body bytes still to come, is zero, so that it neither allocates
/// that many bytes nor waits for them when the request is dropped. Returns whether that worked.
///
/// In tiny_http 0.12.0 (pinned in Cargo.toml) `Request::as_reader` gives a `Box<dyn Read + Send>` as `&mut dyn Read`;
/// inside is an `EqualReader`, whose `Drop` makes a buffer of the declared length. An allocation that fails there ends
/// the process, and nothing in tiny_http's interface can avoid it but leaking the connection with its thread. The
/// count is found by its value, and changed only if there is exactly one such word. Shown by tests/hostile_lengths.rs.
pub fn forget_rest_of_body(body: &mut dyn io::Read, rest: usize) -> bool {
    type Inner = Box<dyn io::Read + Send>;
    if rest == 0
        || size_of_val(body) != size_of::<Inner>()
        || align_of_val(body) != align_of::<Inner>()
    {
        return rest == 0;
    }
    // SAFETY: the concrete type behind `body` is `Inner` in the pinned version, and size and alignment agree with it.
    let inner: &mut Inner = unsafe { &mut *std::ptr::from_mut(body).cast::<Inner>() };
    let words = size_of_val(&**inner) / size_of::<usize>();
    if align_of_val(&**inner) % align_of::<usize>() != 0 {
        return false;
    }
    let first = std::ptr::from_mut(&mut **inner).cast::<usize>();
    // SAFETY: all these words lie inside the object that `inner` owns exclusively, and are aligned. Volatile, because
    // some may be padding: whatever is read there is only compared.
    let matching: Vec<usize> = (0..words)
        .filter(|&i| unsafe { first.add(i).read_volatile() } == rest)
        .collect();
    match matching[..] {
        [i] => {
            // SAFETY: as above; the word is the reader's count, for which every value is valid.
            unsafe { first.add(i).write_volatile(0) };
            true
        }
        _ => false,
    }
}

/// Gives memory that was freed back to the system (`malloc_trim(3)`). glibc keeps it otherwise, scattered over the heaps
/// of many threads, and grows with each crowd that comes and goes. Takes some milliseconds. Shown by tests/soak.rs.
pub fn give_memory_back() {
    // SAFETY: it takes the allocator's own locks, and may be called at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Size of a page of memory, in bytes (`sysconf(3)`).
pub fn page_size() -> u64 {
    // SAFETY: it only tells a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Whether this system lets a process look at its own sockets in the way that the guard needs.
pub const CAN_SEE_SOCKETS: bool = cfg!(target_os = "linux");

/// What a descriptor's number stands for.
pub enum Descriptor {
    /// Nothing.
    Unused,
    /// Something else than a connection over IP.
    Other,
    /// A connection with this peer.
    Connection(SocketAddr),
}

/// Looks at a descriptor (`getpeername(2)`). It may belong to somebody else a moment later: only `Socket::duplicate`
/// and a second look make it safe to act on.
pub fn peer_of(descriptor: RawFd) -> Descriptor {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`; any descriptor number may be asked about.
    let result = unsafe { libc::getpeername(descriptor, (&raw mut address).cast(), &mut length) };
    if result != 0 {
        let is_unused = io::Error::last_os_error().raw_os_error() == Some(libc::EBADF);
        return if is_unused {
            Descriptor::Unused
        } else {
            Descriptor::Other
        };
    }
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct it is, and the storage is large and aligned enough for it.
            let v4 = unsafe { &*(&raw const address).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Descriptor::Connection(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const address).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            // As std makes it, so that the two compare equal.
            Descriptor::Connection(SocketAddr::V6(SocketAddrV6::new(
                ip,
                u16::from_be(v6.sin6_port),
                v6.sin6_flowinfo,
                v6.sin6_scope_id,
            )))
        }
        _ => Descriptor::Other,
    }
}

/// How a connection stands.
pub struct ConnectionState {
    /// The peer has closed its sending side, and with it, as far as we care, itself.
    pub peer_has_closed: bool,
    /// Bytes that were received and taken in by the process.
    pub taken_in: u64,
    /// Bytes that were received and wait to be taken in.
    pub unread: u64,
    /// Bytes that were sent, and that the peer has confirmed.
    pub confirmed: u64,
}

/// Looks at a connection (`tcp(7)`, `TCP_INFO` and `FIONREAD`). `None` if it is none any more.
#[cfg(target_os = "linux")]
pub fn connection_state(descriptor: RawFd) -> Option<ConnectionState> {
    // `struct tcp_info` of linux/tcp.h, of which libc knows an older, shorter version: the state is its first byte, and
    // the confirmed and the received bytes stand at 120 and 128, since Linux 4.1.
    const BYTES_ACKED: usize = 120;
    const BYTES_RECEIVED: usize = 128;
    const STATE_CLOSE_WAIT: u8 = 8;
    let mut info = [0u8; 192];
    let mut length = info.len() as libc::socklen_t;
    let mut unread: libc::c_int = 0;
    // SAFETY: pointers and length describe the two locals; other kinds of descriptors give an error.
    let (told, counted) = unsafe {
        (
            libc::getsockopt(
                descriptor,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &mut length,
            ),
            libc::ioctl(descriptor, libc::FIONREAD, &mut unread),
        )
    };
    if told != 0 || counted != 0 || (length as usize) < BYTES_RECEIVED + 8 {
        return None;
    }
    let word_at = |start: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&info[start..start + 8]);
        u64::from_ne_bytes(word)
    };
    let unread = u64::try_from(unread).unwrap_or(0);
    Some(ConnectionState {
        peer_has_closed: info[0] == STATE_CLOSE_WAIT,
        taken_in: word_at(BYTES_RECEIVED).saturating_sub(unread),
        unread,
        confirmed: word_at(BYTES_ACKED),
    })
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub fn connection_state(_: RawFd) -> Option<ConnectionState> {
    None
}

/// What the system calls this connection, and no other before or after (`socket(7)`, `SO_COOKIE`). `None` if the
/// descriptor is no socket.
#[cfg(target_os = "linux")]
pub fn cookie_of(descriptor: RawFd) -> Option<u64> {
    let mut cookie: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: pointer and length describe the local; other kinds of descriptors give an error.
    let told = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    (told == 0).then_some(cookie)
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub fn cookie_of(_: RawFd) -> Option<u64> {
    None
}

/// Writes what the connection takes without waiting (`send(2)`, `MSG_DONTWAIT`), and returns the number of bytes. Nothing
/// is written to a connection that has ended: whoever writes next in the usual way learns of that.
pub fn write_without_waiting(descriptor: RawFd, bytes: &[u8]) -> usize {
    // SAFETY: pointer and length are those of `bytes`; a descriptor that is no socket gives an error.
    let sent = unsafe {
        libc::send(
            descriptor,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).unwrap_or(0)
}

/// A descriptor of our own for somebody else's connection.
pub struct Socket(socket2::Socket);

impl Socket {
    /// Duplicates a descriptor (`fcntl(2)`, `F_DUPFD_CLOEXEC`).
    ///
    /// # Errors
    /// If there is no such descriptor, or none is left.
    pub fn duplicate(descriptor: RawFd) -> io::Result<Socket> {
        // SAFETY: duplicating does nothing to the original, whatever it is; the result is owned by nobody else.
        unsafe {
            let own = libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0);
            if own < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Socket(socket2::Socket::from_raw_fd(own)))
        }
    }

    /// Whether it is the connection of this peer to our own port.
    pub fn connects(&self, peer: &SocketAddr, port: u16) -> bool {
        let address = |got: io::Result<socket2::SockAddr>| got.ok().and_then(|a| a.as_socket());
        let is_peers = address(self.0.peer_addr()).is_some_and(|found| found == *peer);
        let is_ours = address(self.0.local_addr()).is_some_and(|found| found.port() == port);
        is_peers && is_ours
    }

    /// Ends the connection in both directions; whoever reads or writes it is woken.
    pub fn shut_down(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// Takes nothing in any more; whoever waits to read is woken.
    pub fn stop_reading(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(std::net::Shutdown::Read);
    }

    /// Tells the peer that nothing more will come.
    pub fn stop_sending(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }

    /// Takes in what has arrived, without waiting, and throws it away. Returns whether more may come.
    pub fn discard(&self, budget: &mut usize) -> bool {
        let mut buffer = [0u8; 16 << 10];
        while *budget > 0 {
            // SAFETY: pointer and length are those of `buffer`.
            let result = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(result) {
                Ok(0) => return false,
                Ok(n) => *budget = budget.saturating_sub(n),
                Err(_) => return io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}
