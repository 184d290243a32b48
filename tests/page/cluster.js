// Stands in front of a real server, as a load balancer would, and adds to its snapshots what a server that shares a
// Redis with others would add.

import { createServer, request } from 'node:http';
import { once } from 'node:events';

const server = (name, connected_clients) => ({
  name, version: '0.1.0', uptime_seconds: 90_000, active_channels: 3, connected_clients, messages_published: 1000,
  messages_delivered: 20_000, memory_bytes: 12_000_000, seen_seconds: 1,
});

const CLUSTER = {
  active_channels: 5, connected_clients: 42, messages_published: 2000, messages_delivered: 40_000,
  servers: [server('alpha', 12), server('beta', 30)],
};

export async function withCluster(behind) {
  const front = { redis: 'connected', behind };
  const added = () => `${JSON.stringify({ cluster: CLUSTER, redis: front.redis }).slice(1, -1)},`;
  const listener = createServer((incoming, outgoing) => {
    const { host, ...headers } = incoming.headers;
    const passed = request(new URL(incoming.url, front.behind.url), { method: incoming.method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      if (incoming.url !== '/stats/stream') return answer.pipe(outgoing);
      answer.on('data', (bytes) => outgoing.write(String(bytes).replaceAll('data: {', `data: {${added()}`)));
      answer.on('error', () => outgoing.destroy());
    });
    passed.on('error', () => outgoing.destroy());
    incoming.pipe(passed);
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  front.url = `http://127.0.0.1:${listener.address().port}/`;
  front.close = () => { listener.closeAllConnections(); listener.close(); };
  return front;
}
