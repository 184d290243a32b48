//! How mutexes are locked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. Nothing that holds one can panic halfway through a change, so a poisoned one guards good data.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
