// Stands in front of a real server, as a load balancer would, and may send what comes next to another one.

import { createServer, request } from 'node:http';
import { once } from 'node:events';

export async function inFrontOf(behind) {
  /** `held`: an answer to a path with this text waits for that. `status`: what it says by itself, if that is set. */
  const front = { behind, held: ['/nothing', undefined], status: undefined };
  const listener = createServer((incoming, outgoing) => {
    if (front.status) return void outgoing.writeHead(front.status).end('<h1>a proxy</h1>');
    const { host, ...headers } = incoming.headers;
    const passed = request(new URL(incoming.url, front.behind.url), { method: incoming.method, headers }, async (answer) => {
      const [path, until] = front.held;
      if (incoming.url.includes(path)) await until;
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.on('error', () => outgoing.destroy());
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    outgoing.on('close', () => passed.destroy());
    incoming.pipe(passed);
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  front.url = `http://127.0.0.1:${listener.address().port}/`;
  front.cut = () => listener.closeAllConnections();
  front.close = () => { listener.closeAllConnections(); listener.close(); };
  return front;
}
