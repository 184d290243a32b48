// What the types of the client allow and refuse; tests/it/client.rs checks it with tsc. Nothing of it runs.
import { follow, type Gap, type Message, type Status, type Stream } from '../../assets/sse-client.js';

const stream: Stream = follow('', ['news', 'sensor-*'] as const, {
  onMessage: ({ id, type, canal, mensagem, timestamp }: Message) => void [id, type, canal, mensagem, timestamp.toFixed()],
  onStatus: (status: Status, reason?: string) => void [status === 'closed', reason],
  onGap: ({ canal, after }: Gap) => void [canal, after],
  types: ['alert'],
  last: 10,
  since: '10m',
  token: async () => (await fetch('/token')).text(),
  tabs: false,
  silence: 60_000,
});
stream.close();
follow('https://sse.example.org', ['news']);
follow('/live', ['news'], { since: 0, token: 'text' });
follow('', ['news'], { onStatus: (status) => void (status satisfies 'connecting' | 'open' | 'lost' | 'closed') });

// @ts-expect-error a list of channels
follow('', 'news');
// @ts-expect-error a typing slip
follow('', ['news'], { onMesage() {} });
// @ts-expect-error no number
follow('', ['news'], { last: '10' });
// @ts-expect-error no such status
follow('', ['news'], { onStatus: (status) => status === 'reconnecting' });
// @ts-expect-error a token is a text
follow('', ['news'], { token: () => 5 });
// @ts-expect-error it has to be closed, and cannot be opened again
stream.open();
