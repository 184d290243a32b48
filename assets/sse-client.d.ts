/** sse-server's client for pages: the types of /sse-client.js. */

/**
 * Follows channels until `close` is called. It reconnects by itself and resumes after the last message, so that nothing is
 * lost or repeated; what the server no longer retains is reported as a gap.
 *
 * @param server the server's origin, or its path behind a proxy; `''` is the page's own origin
 * @param channels names, and beginnings of names followed by `*`
 */
export function follow(server: string, channels: readonly string[], options?: Options): Stream;

export interface Stream {
  /** Ends it. Calls `onStatus('closed')` now, and nothing afterwards. */
  close(): void;
}

export interface Options {
  /** Gets each message once, in order. */
  onMessage?(message: Message): void;
  /** Gets each change. If the stream has closed by itself, `reason` says why. */
  onStatus?(status: Status, reason?: string): void;
  /** Messages of a channel after the id `after` are missing: reload what you show from its source. */
  onGap?(gap: Gap): void;
  /** Names of events to get beside plain messages: what was published with `?event=alert` is an `alert`. Any name does. */
  types?: readonly string[];
  /** Begin with this many of the newest messages, over all channels: 1 to 10,000. */
  last?: number;
  /**
   * Begin with the messages since a moment, `'90s'`, `'10m'`, `'2h'` or `'1d'` ago or in milliseconds since 1970; since an
   * id; or with all retained ones, `0`.
   */
  since?: string | number;
  /**
   * For channels that are not public. A function is called for the first token, and again whenever a token has expired. A
   * text is a single token; the stream ends with it.
   */
  token?: string | (() => string | Promise<string>);
  /**
   * Whether all tabs of the page's origin that follow the same channels share one stream; `true` by default. Tabs share what
   * the leading tab's token may see: a text is shared by tabs with the same one, a function by all. Pages over plain http,
   * except on localhost, cannot share: each tab has its own stream.
   */
  tabs?: boolean;
  /**
   * After how many milliseconds without any bytes from the server, heartbeats included, the connection counts as dead;
   * 45,000 by default, three times HEARTBEAT.
   */
  silence?: number;
}

/**
 * `connecting` until it is open for the first time. `lost` means that it keeps trying to reconnect. `closed` is final: by
 * `close`, because the server said so (`expired`, `revoked`, `ended`), or because it refuses the request for a reason that
 * does not pass.
 */
export type Status = 'connecting' | 'open' | 'lost' | 'closed';

export interface Message {
  id: string;
  /** `message`, or the event's name. */
  type: string;
  canal: string;
  mensagem: string;
  /** Milliseconds since 1970. */
  timestamp: number;
}

export interface Gap {
  canal: string;
  after: string;
}
