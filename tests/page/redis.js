// A real Redis on a free port, which keeps nothing.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { freePort } from './server.js';

export class Redis {
  static async start() {
    const redis = new Redis();
    const port = await freePort();
    const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', tmpdir()];
    redis.child = spawn('redis-server', options, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: redis.child.stdout })) {
      if (line.includes('Ready to accept connections')) break;
    }
    redis.child.stdout.resume();
    redis.url = `redis://127.0.0.1:${port}`;
    return redis;
  }

  async kill() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}
