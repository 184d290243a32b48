'use client';

import { useEffect, useState } from 'react';

export type Status = 'connecting' | 'open' | 'lost';
export type Message = { id: string; type: string; canal: string; mensagem: string; timestamp: number };
type Options = {
  /** How many messages to hold; the oldest go first. */
  keep?: number;
  /** Begin with what the server has retained, instead of with the next message. */
  history?: boolean;
  /** Types of events to receive beside plain messages: what was published with `?event=alert` is an `alert`. */
  types?: string[];
  /** For channels that are not public. It is visible in the page: give it the right to read, and no other. */
  token?: string;
};

/** Follows channels. `gaps` grows when the server had to leave messages out: reload what you show from its source. */
export function useEventSource(server: string, channels: string[], options: Options = {}) {
  const { keep = 100, history = false, types = [], token } = options;
  const [status, setStatus] = useState<Status>('connecting');
  const [messages, setMessages] = useState<Message[]>([]);
  const [gaps, setGaps] = useState(0);
  // Texts, so that the effect runs again when the content changes, and not at each render.
  const [channelList, typeList] = [channels.join(','), types.join('\n')];

  useEffect(() => {
    const url = new URL('/sse', server);
    url.searchParams.set('canal', channelList);
    url.searchParams.set('format', 'json');
    url.searchParams.set('heartbeat', 'event');
    if (history) url.searchParams.set('last_event_id', '0');
    if (token) url.searchParams.set('access_token', token);
    const named = new Set(['message', 'sse-heartbeat', 'sse-gap', ...typeList.split('\n').filter(Boolean)]);
    const end = follow(url, named, setStatus, ({ type, data, lastEventId }) => {
      if (type === 'sse-gap') setGaps((count) => count + 1);
      else if (type !== 'sse-heartbeat') {
        const message: Message = { id: lastEventId, type, ...JSON.parse(data) };
        setMessages((messages) => [...messages, message].slice(-keep));
      }
    });
    return () => {
      end();
      setMessages([]);
    };
  }, [server, channelList, typeList, history, token, keep]);

  return { status, messages, gaps };
}

export type Statistics = {
  active_channels: number;
  connected_clients: number;
  messages_published: number;
  messages_delivered: number;
  uptime_seconds: number;
};

/** The server's figures, new each second; `undefined` until the first have come. */
export function useStatistics(server: string) {
  const [status, setStatus] = useState<Status>('connecting');
  const [statistics, setStatistics] = useState<Statistics>();

  useEffect(() => {
    const url = new URL('/stats/stream', server);
    return follow(url, ['message'], setStatus, ({ data }) => setStatistics(JSON.parse(data)));
  }, [server]);

  return { status, statistics };
}

/** Three of the server's heartbeats: a stream that is silent for longer is dead, whatever the browser thinks. */
const SILENCE_MS = 45_000;

/**
 * Keeps a stream open until the function that it returns is called. An EventSource comes back by itself from a lost
 * connection, but it gives up when it is refused (503 of a full server, 502 of a proxy), and it does not notice a
 * connection that died in silence. Then a new one takes over after the last event that was seen, and after a time that
 * grows and differs from client to client, so that a server in trouble does not meet them all at once.
 */
function follow(
  url: URL,
  types: Iterable<string>,
  onStatus: (status: Status) => void,
  onEvent: (event: MessageEvent<string>) => void,
) {
  let source: EventSource;
  let timer: ReturnType<typeof setTimeout>;
  let failures = 0;

  const open = () => {
    source = new EventSource(url);
    source.onopen = () => {
      failures = 0;
      onStatus('open');
      watch();
    };
    source.onerror = () => {
      onStatus('lost');
      if (source.readyState === EventSource.CLOSED) replace();
    };
    for (const type of types) {
      source.addEventListener(type, (event) => {
        if (event.lastEventId) url.searchParams.set('last_event_id', event.lastEventId);
        watch();
        onEvent(event);
      });
    }
    watch();
  };
  const watch = () => {
    clearTimeout(timer);
    timer = setTimeout(replace, SILENCE_MS);
  };
  const replace = () => {
    source.close();
    onStatus('lost');
    const most = Math.min(1000 * 2 ** failures++, 30_000);
    clearTimeout(timer);
    timer = setTimeout(open, most * (0.5 + Math.random() / 2));
  };

  open();
  return () => {
    clearTimeout(timer);
    source.close();
    onStatus('connecting');
  };
}
