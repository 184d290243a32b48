//! Reads the rules' file, and only a regular file: opening a pipe would wait for a writer, and meanwhile hear no
//! signal.

use std::fs::{FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The largest file: some 100,000 tokens with their rights. It is held in memory while it is read.
const MAX_BYTES: u64 = 32 << 20;

/// The file's content. Never waits, neither for a writer nor for a device.
///
/// # Errors
/// What is wrong with the file and what would be right, without the path.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Checked before it is opened, because opening some devices has effects, and after, when it can no longer be
    // replaced.
    refuse_others(std::fs::metadata(path).map_err(unreadable)?.file_type())?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(unreadable)?;
    refuse_others(file.metadata().map_err(unreadable)?.file_type())?;
    // Some files are longer than they say.
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!(
            "has more than {MAX_BYTES} bytes; give the path of a file of JSON rules"
        ));
    }
    Ok(bytes)
}

fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}; give the path of a file of JSON rules")
}

fn refuse_others(kind: FileType) -> Result<(), String> {
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    };
    Err(format!(
        "is a {what}; give the path of a file of JSON rules"
    ))
}
