//! What becomes of a thread that panics, and of the process with it.

use sse_server::log as queued_log;

/// Threads that do not end the process when they panic: a request or a stream is all that is lost. Without any other the
/// server would look well and do nothing, and whoever started it starts it again.
const EXPENDABLE: [&str; 3] = ["worker", "stream", "waiting"];

/// Puts every panic into the log, in one line. A thread without a name is one of tiny_http's.
pub fn watch() {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("tiny_http");
        if name == queued_log::THREAD {
            return;
        }
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        log::error!("event=panic thread={name} place={place:?} message={message:?}");
        if !EXPENDABLE.contains(&name) {
            log::logger().flush();
            std::process::abort();
        }
    }));
}
