//! Reading from and writing to a socket without blocking, whatever its mode: a stream's thread writes to the same
//! socket, and does block.

use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// Reads what has arrived into `buffer`, up to its capacity, without blocking (`recv(2)`, `MSG_DONTWAIT`). Replaces the
/// buffer's content; empty means the end of the peer's data.
///
/// # Errors
/// `WouldBlock` if nothing has arrived; anything else ends the connection.
pub fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let spare = buffer.spare_capacity_mut();
    let (start, length) = (spare.as_mut_ptr(), spare.len());
    let count = retry(|| {
        // SAFETY: pointer and length are those of the spare capacity, and the descriptor is open for as long as `socket`
        // lives.
        unsafe { libc::recv(socket.as_raw_fd(), start.cast(), length, libc::MSG_DONTWAIT) }
    })?;
    // SAFETY: the call has written this many bytes.
    unsafe { buffer.set_len(count) };
    Ok(())
}

/// Writes as much as the system takes without blocking (`send(2)`, `MSG_DONTWAIT`), and returns the number of bytes.
/// Every Rust program ignores SIGPIPE.
///
/// # Errors
/// `WouldBlock` if it takes nothing now; anything else ends the connection.
pub fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: pointer and length are those of `bytes`, and the descriptor is open for as long as `socket` lives.
        unsafe {
            libc::send(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT,
            )
        }
    })
}

/// A signal may interrupt any call (`signal(7)`).
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Bytes written that the peer's system has not confirmed (`tcp(7)`, `unix(7)`: `SIOCOUTQ`; elsewhere `SO_NWRITE` or
/// `FIONWRITE`). 0 if the system does not tell. Shown by tests/it/alone/slow_clients.rs.
pub fn unconfirmed(socket: &Socket) -> u64 {
    let mut count: libc::c_int = 0;
    let is_known = ask_unconfirmed(socket, &mut count);
    u64::try_from(count).ok().filter(|_| is_known).unwrap_or(0)
}

#[cfg(target_vendor = "apple")]
fn ask_unconfirmed(socket: &Socket, count: &mut libc::c_int) -> bool {
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `count`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NWRITE,
            std::ptr::from_mut(count).cast(),
            &mut length,
        )
    };
    result == 0
}

#[cfg(not(target_vendor = "apple"))]
fn ask_unconfirmed(socket: &Socket, count: &mut libc::c_int) -> bool {
    #[cfg(target_os = "linux")]
    const REQUEST: libc::c_ulong = libc::TIOCOUTQ as libc::c_ulong;
    // `_IOR('f', 119, int)` of sys/filio.h.
    #[cfg(not(target_os = "linux"))]
    const REQUEST: libc::c_ulong = 0x4004_6677;
    // SAFETY: the request writes one int to where `count` points.
    unsafe { libc::ioctl(socket.as_raw_fd(), REQUEST as _, std::ptr::from_mut(count)) == 0 }
}
