import { after } from 'next/server';

const { SSE_URL = 'http://localhost:8080', AUTH_TOKEN } = process.env;

const MOST_CHARACTERS = 500;

export async function POST(request: Request) {
  // Check your user's session here: it decides who may ask, and how often.
  const site = request.headers.get('Sec-Fetch-Site');
  if (site && site !== 'same-origin') return new Response('Only pages of this site may ask.', { status: 403 });
  const length = request.headers.get('Content-Length');
  const question = length !== null && Number(length) <= 4 * MOST_CHARACTERS ? await request.text() : '';
  if (question === '' || question.length > MOST_CHARACTERS) {
    return new Response(`A question has 1 to ${MOST_CHARACTERS} characters.`, { status: 400 });
  }

  // Each answer has its own channel. The model continues after this request, even if the page is gone.
  const channel = `answer-${crypto.randomUUID()}`;
  after(() => answer(question, channel));
  return Response.json({ channel });
}

async function answer(question: string, channel: string) {
  let whole = '';
  try {
    for await (const piece of model(question)) {
      whole += piece;
      await publish(channel, piece);
    }
    // The last event has the whole answer, however many pieces the server retains.
    await publish(channel, whole, '?event=done');
  } catch (error) {
    console.error('answering failed:', error);
    await publish(channel, `${whole} … The answer broke off. Ask again.`, '?event=done').catch(() => {});
  }
}

async function publish(channel: string, text: string, query = '') {
  const answer = await fetch(`${SSE_URL}/publish/${channel}${query}`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${AUTH_TOKEN}` },
    body: text,
    signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

/** A stand-in for your model's client: yields the answer piece by piece. */
async function* model(question: string) {
  const words = `You asked: ${question} Let me count the pieces: ${Array.from({ length: 40 }, (_, at) => at + 1).join(' ')}.`;
  for (const word of words.split(/(?<= )/)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    yield word;
  }
}
