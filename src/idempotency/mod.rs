#![doc = include_str!("README.md")]

mod attempt;
mod first_try;
mod keys;
mod known;
mod publication;

pub use attempt::{Attempt, Half};
pub use first_try::FirstTry;
pub use keys::{Begun, Claim, Keys};
pub use known::{LIFETIME, MOST_KEYS};
pub use publication::Publication;
