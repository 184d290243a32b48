//! What others see of the disk, whether it is built in or not.

/// Why the server cannot start with this folder: one line for a person.
#[derive(Debug)]
pub struct OpenError {
    /// The line.
    pub line: String,
    /// The configuration has to be another one; otherwise the same may work later.
    pub is_misuse: bool,
}

/// Figures for people and machines.
#[derive(Debug)]
pub struct DiskFigures {
    /// What is published is stored.
    pub is_writable: bool,
    /// Size of the files, in bytes.
    pub bytes: u64,
    /// Times that something could not be stored.
    pub faults: u64,
    /// The last time's reason.
    pub last_fault: Option<String>,
}
