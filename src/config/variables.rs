//! The table of variables, for `--help`, `--check` and slips.

/// Every variable: its name, its default as a reader sees it, and its meaning.
pub const VARIABLES: [(&str, &str, &str); 21] = [
    (
        "LISTEN",
        "0.0.0.0:8080",
        "address:port, :port or unix:/path; port 0 takes a free one",
    ),
    ("PORT", "8080", "changes the port alone, instead of LISTEN"),
    (
        "AUTH_TOKEN",
        "random, logged at start",
        "the token that may publish and read everything",
    ),
    (
        "ACCESS_FILE",
        "none",
        "JSON rules: tokens, what each may do, and what is public",
    ),
    (
        "JWT_SECRET",
        "none",
        "HS256 keys, separated by commas, of tokens that carry rights",
    ),
    (
        "CORS_ORIGINS",
        "*",
        "origins whose pages may use the server, separated by commas",
    ),
    (
        "HISTORY_EVENTS",
        "100",
        "messages retained per channel for replay; 0 turns replay off",
    ),
    (
        "HISTORY_BYTES",
        "16777216",
        "memory for all channels' history together; the oldest go first",
    ),
    (
        "HISTORY_AGE",
        "none",
        "seconds after which a message is no longer retained",
    ),
    (
        "DATA_DIR",
        "none",
        "a folder in which the history survives restarts and power loss",
    ),
    (
        "SYNC",
        "always",
        "with DATA_DIR: always syncs before the answer, 1s within a second",
    ),
    (
        "CHANNEL_TTL",
        "300; 604800 with DATA_DIR",
        "seconds until an unused channel is removed",
    ),
    (
        "HEARTBEAT",
        "15",
        "seconds without traffic until a stream gets a heartbeat",
    ),
    (
        "MAX_CLIENTS",
        "10000",
        "clients that may be connected at once",
    ),
    (
        "MAX_CLIENTS_PER_ADDRESS",
        "0: no limit",
        "streams that one client address may have at once",
    ),
    (
        "MAX_CHANNELS",
        "10000",
        "channels with messages, and as many again that are only followed",
    ),
    ("MAX_MESSAGE_BYTES", "65536", "size of the largest message"),
    (
        "CLIENT_QUEUE",
        "256",
        "messages a slow client may lag behind before it is disconnected",
    ),
    (
        "TRUSTED_PROXIES",
        "none",
        "proxies whose X-Forwarded-For is trusted: addresses, networks, unix",
    ),
    (
        "REDIS_URL",
        "none",
        "redis://[user:password@]host[:port][/db], to link several servers",
    ),
    (
        "RUST_LOG",
        "info",
        "log level: off, error, warn, info, debug or trace",
    ),
];
