'use client';

import { useEventSource } from '../use-event-source';

const SERVER = process.env.NEXT_PUBLIC_SSE_URL ?? 'http://localhost:8080';

export function Answer({ channel }: { channel: string }) {
  // Everything retained, and then whatever comes: the same after a reload.
  const { status, messages } = useEventSource(SERVER, [channel], { since: 0, until: 'done', keep: 10_000 });
  const pieces = messages.filter(({ canal }) => canal === channel);
  const whole = pieces.find(({ type }) => type === 'done');
  return (
    <section aria-busy={!whole}>
      <p>{whole?.mensagem ?? pieces.map(({ mensagem }) => mensagem).join('')}</p>
      <p role="status">{whole ? 'That is all.' : `The stream is ${status}.`}</p>
    </section>
  );
}
