'use client';

import { useState, type FormEvent } from 'react';
import { useEventSource } from './use-event-source';

const SERVER = process.env.NEXT_PUBLIC_SSE_URL ?? 'http://localhost:8080';

export function Chat() {
  const { status, messages, gaps, acknowledge } = useEventSource(SERVER, ['chat', 'alerts'], { last: 100 });
  const [text, setText] = useState('');
  const [problem, setProblem] = useState('');

  async function publish(event: FormEvent) {
    event.preventDefault();
    const body = JSON.stringify({ mensagem: text });
    const answer = await fetch('/api/publish', { method: 'POST', body }).catch(() => undefined);
    if (answer?.ok) setText('');
    setProblem(answer?.ok ? '' : ((await answer?.text()) ?? 'This site cannot be reached.'));
  }

  return (
    <section>
      <p role="status">The stream is {status}.</p>
      {gaps.length > 0 && (
        <p>
          Some messages are missing. <button onClick={acknowledge}>Never mind</button>
        </p>
      )}
      <ol aria-live="polite">
        {messages.map(({ id, canal, mensagem, timestamp }) => (
          <li key={id}>
            <time dateTime={new Date(timestamp).toISOString()}>{new Date(timestamp).toLocaleTimeString()}</time>{' '}
            <b>{canal}</b> {mensagem}
          </li>
        ))}
      </ol>
      <form onSubmit={publish}>
        <input aria-label="Message" value={text} maxLength={500} required onChange={(e) => setText(e.target.value)} />
        <button>Send</button>
        {problem && <p role="alert">{problem}</p>}
      </form>
    </section>
  );
}
