//! Streams that new rules or an operator end. Their clients still get what is queued for them, but nothing published
//! later, and are told the reason.

use super::hub::Hub;
use crate::access::Permit;
use crate::counters::End;

impl Hub {
    /// Ends the streams whose permit `still_grants` rejects, and returns how many.
    pub fn revoke(&self, still_grants: impl Fn(&Permit) -> bool) -> usize {
        let table = self.shared.lock();
        let subscribers: Vec<_> = table.audiences.subscribers().cloned().collect();
        drop(table);
        let mut count = 0;
        for subscriber in subscribers {
            if !still_grants(&subscriber.permit) {
                self.shared.leave(subscriber.number);
                subscriber.progress.end(End::Revoked);
                count += 1;
            }
        }
        count
    }

    /// Ends the stream of the client with this number. Returns whether there was one.
    pub fn end_client(&self, number: u64) -> bool {
        let left = self.shared.lock().leave(number);
        if let Some(subscriber) = &left {
            subscriber.progress.end(End::Ended);
        }
        left.is_some()
    }
}
