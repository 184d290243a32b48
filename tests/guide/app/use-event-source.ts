'use client';

import { useCallback, useEffect, useRef, useState } from 'react';
import { follow, type Gap, type Message, type Options, type Status } from './sse-client.js';

export type { Gap, Message, Status };

type HookOptions = Omit<Options, 'onMessage' | 'onStatus' | 'onGap'> & {
  /** How many messages to keep; the oldest are dropped first. */
  keep?: number;
  /** The type of the last event; the stream is closed after it. */
  until?: string;
};

/**
 * Follows channels, on one stream for all tabs. `gaps` has an entry for each loss of messages: reload what you show from
 * your own source, then call `acknowledge`.
 */
export function useEventSource(server: string, channels: string[], options: HookOptions = {}) {
  const { keep = 100, until, types = [], token, last, since, tabs, silence } = options;
  const [status, setStatus] = useState<Status>('connecting');
  const [messages, setMessages] = useState<Message[]>([]);
  const [gaps, setGaps] = useState<Gap[]>([]);
  const acknowledge = useCallback(() => setGaps([]), []);
  // As text, so that the effect runs again when the content changes, and not at each render.
  const [channelList, typeList] = [channels.join(','), [...types, ...(until ? [until] : [])].join('\n')];
  // A function is a new one at each render; always call the newest.
  const newest = useRef(token);
  useEffect(() => {
    newest.current = token;
  });
  const tokenText = typeof token === 'function' ? 'function' : `text ${token ?? ''}`;

  useEffect(() => {
    const token = newest.current;
    const renew = () => (typeof newest.current === 'function' ? newest.current() : (newest.current ?? ''));
    const stream = follow(server, channelList.split(','), {
      ...{ last, since, tabs, silence },
      types: typeList.split('\n'),
      token: typeof token === 'function' ? renew : token,
      onStatus: setStatus,
      onGap: (gap) => setGaps((gaps) => [...gaps, gap]),
      onMessage: (message) => {
        setMessages((messages) => [...messages, message].slice(-keep));
        if (message.type === until) stream.close();
      },
    });
    return () => {
      stream.close();
      setStatus('connecting');
      setMessages([]);
      setGaps([]);
    };
  }, [server, channelList, typeList, tokenText, keep, until, last, since, tabs, silence]);

  return { status, messages, gaps, acknowledge };
}

export type Statistics = {
  active_channels: number;
  connected_clients: number;
  messages_published: number;
  messages_delivered: number;
  uptime_seconds: number;
};

/** The server's figures, new each second; `undefined` before the first ones, and while the server cannot be reached. */
export function useStatistics(server: string) {
  const [statistics, setStatistics] = useState<Statistics>();

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const end = new AbortController();
    const look = async () => {
      const answer = await fetch(`${server.replace(/\/$/, '')}/stats`, { signal: end.signal }).catch(() => undefined);
      const figures = answer?.ok ? await answer.json().catch(() => undefined) : undefined;
      if (end.signal.aborted) return;
      setStatistics(figures);
      timer = setTimeout(look, 1000);
    };
    look();
    return () => {
      end.abort();
      clearTimeout(timer);
    };
  }, [server]);

  return statistics;
}
