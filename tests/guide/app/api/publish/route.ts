// Without NEXT_PUBLIC_ in their names, these variables stay on the server. No browser ever sees the token.
const { SSE_URL = 'http://localhost:8080', AUTH_TOKEN } = process.env;

const MOST_BYTES = 4096;
const MOST_CHARACTERS = 500;

export async function POST(request: Request) {
  // Check your user's session here: it decides who may publish. The next lines only keep out pages of other sites.
  const site = request.headers.get('Sec-Fetch-Site');
  if (site && site !== 'same-origin') return refuse(403, 'Only pages of this site may publish.');

  const length = request.headers.get('Content-Length');
  if (length === null || Number(length) > MOST_BYTES) return refuse(413, `A request has at most ${MOST_BYTES} bytes.`);
  const input = await request.json().catch(() => null);
  const mensagem = input?.mensagem;
  if (typeof mensagem !== 'string' || mensagem === '' || mensagem.length > MOST_CHARACTERS) {
    return refuse(400, `mensagem has to be a text of 1 to ${MOST_CHARACTERS} characters.`);
  }

  try {
    // The channel is fixed here, not taken from the input, because this token may publish to every channel.
    const answer = await fetch(`${SSE_URL}/publish/chat`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${AUTH_TOKEN}` },
      body: mensagem,
      signal: AbortSignal.timeout(5000),
    });
    if (!answer.ok) throw new Error(await answer.text());
    const { id } = await answer.json();
    return Response.json({ id });
  } catch (error) {
    console.error('publishing failed:', error);
    return refuse(502, 'The message could not be published. Try again.');
  }
}

function refuse(status: number, detail: string) {
  return new Response(detail, { status });
}
