//! What happens in a run, one line each, if somebody wants to read it.

use crate::hub::time;

#[derive(Debug)]
pub struct Story(Option<Vec<String>>);

impl Story {
    pub fn new(is_wanted: bool) -> Story {
        Story(is_wanted.then(Vec::new))
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{:>7} ms  {}", time::running_ms(), line()));
        }
    }

    pub fn lines(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}
