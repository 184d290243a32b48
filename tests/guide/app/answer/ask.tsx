'use client';

import { useRouter } from 'next/navigation';
import { useState } from 'react';

export function Ask() {
  const router = useRouter();
  const [problem, setProblem] = useState('');

  async function ask(form: FormData) {
    const answer = await fetch('/api/answer', { method: 'POST', body: String(form.get('question')) }).catch(() => undefined);
    if (!answer?.ok) return setProblem((await answer?.text()) ?? 'This site cannot be reached.');
    // The answer's page has the channel in its address, so that a reload finds it again.
    router.push(`/answer/${(await answer.json()).channel}`);
  }

  return (
    <form action={ask}>
      <input name="question" aria-label="Question" maxLength={500} required />
      <button>Ask</button>
      {problem && <p role="alert">{problem}</p>}
    </form>
  );
}
