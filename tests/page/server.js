// The real server on a free port, and what a test does to it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { connect, createServer } from 'node:net';
import { request } from 'node:http';

export const TOKEN = 'page-test-token-of-16-bytes';

const BINARY = process.env.SSE_SERVER;

/** Waits until `condition` gives something true, and gives that. The bound is for a machine that is busy with much else. */
export async function until(what, condition, bound = 120_000) {
  const end = Date.now() + bound;
  let last;
  for (;;) {
    try {
      const found = await condition();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${bound / 1000} s in vain: ${what} (the last look gave: ${last})`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A free port below those that systems assign by themselves: no connection has it while a server is away. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const listener = createServer();
    const isFree = await new Promise((resolve) => listener.on('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)));
    if (!isFree) continue;
    listener.close();
    await once(listener, 'close');
    return port;
  }
}

export class Server {
  #ends = [];

  static async start(variables = {}) {
    const server = new Server();
    await server.#start({ LISTEN: `127.0.0.1:${await freePort()}`, AUTH_TOKEN: TOKEN, ...variables });
    return server;
  }

  async #start(variables) {
    if (!BINARY) throw new Error('SSE_SERVER has to name the binary');
    this.variables = variables;
    this.child = spawn(BINARY, { env: { PATH: process.env.PATH, ...variables }, stdio: ['ignore', 'ignore', 'pipe'] });
    for await (const line of createInterface({ input: this.child.stderr })) {
      const [, address] = /event=listening address=(\S+)/.exec(line) ?? [];
      if (address) {
        this.address = address;
        break;
      }
    }
    if (!this.address) throw new Error('the server has not said where it listens');
    this.child.stderr.resume();
    this.url = `http://${this.address}/`;
  }

  /** Ends it as a power cut would. */
  async kill() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }

  /** Ends it, and whatever a test had going on with it. */
  async close() {
    for (const end of this.#ends) end();
    this.thaw();
    await this.kill();
  }

  /** Starts it again, on the same port. */
  async restart(variables = {}) {
    await this.kill();
    await this.#start({ ...this.variables, LISTEN: this.address, ...variables });
  }

  /** It keeps its sockets and does nothing. */
  freeze() {
    this.child.kill('SIGSTOP');
  }

  thaw() {
    this.child.kill('SIGCONT');
  }

  async publish(channel, text, query = '') {
    const response = await fetch(`${this.url}publish/${encodeURIComponent(channel)}${query}`, {
      method: 'POST', headers: { Authorization: `Bearer ${TOKEN}` }, body: text,
    });
    if (!response.ok) throw new Error(`publishing to ${channel}: ${await response.text()}`);
    return response.json();
  }

  async stats() {
    return (await fetch(`${this.url}stats`)).json();
  }

  /** So many clients on a channel; the function that comes back lets them go. */
  async listen(channel, count) {
    const requests = [];
    for (let i = 0; i < count; i++) {
      const client = request(`${this.url}sse/${encodeURIComponent(channel)}`, (response) => response.on('error', () => {}).resume());
      client.on('error', () => {}).end();
      requests.push(client);
    }
    const leave = () => requests.forEach((client) => client.destroy());
    this.#ends.push(leave);
    await until(`${count} clients listen to ${channel}`, async () => {
      const response = await fetch(`${this.url}stats`, { headers: { Authorization: `Bearer ${TOKEN}` } });
      const { channels } = await response.json();
      return channels.find(({ canal }) => canal === channel)?.clients >= count;
    });
    return leave;
  }

  /** A client that takes its stream's head and then nothing more, until its socket is read again. */
  async stall(channel) {
    const { hostname, port } = new URL(this.url);
    const socket = connect(port, hostname);
    this.#ends.push(() => socket.destroy());
    socket.on('error', () => {}).write(`GET /sse/${encodeURIComponent(channel)} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    await once(socket, 'data');
    return socket.pause();
  }

  /** Publishes so often a second until the function that comes back is called. */
  traffic(channel, perSecond) {
    let number = 0;
    const timer = setInterval(() => this.publish(channel, `message ${(number += 1)}`).catch(() => {}), 1000 / perSecond);
    const quiet = () => clearInterval(timer);
    this.#ends.push(quiet);
    return quiet;
  }
}
