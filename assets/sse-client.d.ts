/** sse-server's client for pages: the types of /sse-client.js. */

/**
 * Follows channels until `close` is called. It comes back by itself and resumes behind the last message, so that nothing is
 * lost or repeated; what the server no longer retains is told as a gap.
 *
 * @param server the server's origin, or the path that a proxy has it under; `''` is the page's own origin
 * @param channels names, and beginnings of names with `*` behind them
 */
export function follow(server: string, channels: readonly string[], options?: Options): Stream;

export interface Stream {
  /** Ends it. Nothing is called any more, but for `onStatus('closed')` now. */
  close(): void;
}

export interface Options {
  /** Gets each message once, in order. */
  onMessage?(message: Message): void;
  /** Gets each change. Of what has closed by itself, `reason` says why. */
  onStatus?(status: Status, reason?: string): void;
  /** Messages of a channel are missing behind the id `after`: reload what you show from its source. */
  onGap?(gap: Gap): void;
  /** Names of events to get beside plain messages: what was published with `?event=alert` is an `alert`. Any name does. */
  types?: readonly string[];
  /** Begin with the newest messages, so many over all channels: 1 to 10,000. */
  last?: number;
  /**
   * Begin with the messages since a moment, `'90s'`, `'10m'`, `'2h'` or `'1d'` ago or in milliseconds since 1970; since an
   * id; or with all that are retained, `0`.
   */
  since?: string | number;
  /**
   * For channels that are not public. A function is called for the first token, and again whenever a token has expired. A
   * text is for one token, with which everything ends.
   */
  token?: string | (() => string | Promise<string>);
  /**
   * Whether all tabs of the page's origin that follow the same channels share one stream; `true` if left out. Tabs share what
   * the leading tab's token may see: a text is shared by those with the same one, a function by all. Pages of plain http, but
   * for localhost, cannot share: each tab has its own stream.
   */
  tabs?: boolean;
  /**
   * After how many milliseconds without a word from the server, heartbeats included, the connection is given up for dead;
   * 45,000 if left out, which is three times HEARTBEAT.
   */
  silence?: number;
}

/**
 * `connecting` until it is open for the first time. `lost` means that it tries again, and goes on trying. `closed` is for
 * good: by `close`, because the server said so (`expired`, `revoked`, `ended`), or because it refuses the request for a
 * reason that time does not mend.
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
