// The client for pages in a real browser (BROWSER: chromium or firefox) against the real server. Called by tests/it/client.rs.

import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser, site } from './browser.js';
import { Server, TOKEN, until } from '../page/server.js';

const SECRET = 'the-secret-of-the-clients-tests-32-bytes';

let browser;
let server;
let pages;
let tabs = [];
let folder;
/** Asked for by tabs of the site. */
let tokens;

before(async () => {
  browser = await Browser.open(process.env.BROWSER);
  folder = await mkdtemp(join(tmpdir(), 'sse-server-client-'));
});
after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

async function start(variables) {
  server = await Server.start({ HEARTBEAT: '1', ...variables });
  tokens = { asked: 0, give: () => signed(60) };
  pages = await site(() => server.url, { '/token': (_, outgoing) => { tokens.asked += 1; outgoing.end(tokens.give()); } });
}

afterEach(async () => {
  const open = tabs;
  tabs = [];
  for (const { page } of open) if (!page.isClosed()) await page.close();
  await server?.close();
  pages?.close();
  server = pages = undefined;
  assert.deepEqual(open.flatMap(({ errors }) => errors), [], 'no tab has errors');
});

async function tab(url = pages.url) {
  const opened = await browser.tab(url);
  tabs.push(opened);
  return opened;
}

/** A token for pages that ends after so many seconds. */
function signed(seconds, secret = SECRET, sse = { subscribe: ['*'] }) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode({ alg: 'HS256' })}.${encode({ exp: Date.now() / 1000 + seconds, sse })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

async function rules(name, content) {
  const file = join(folder, name);
  await writeFile(file, JSON.stringify(content));
  return file;
}

const clients = async () => (await server.stats()).connected_clients;

/** Publishes numbers until the function that comes back is called, which gives the last one. */
function numbers(channel) {
  let number = 0;
  let isOver = false;
  const publishing = (async () => {
    while (!isOver) {
      await server.publish(channel, String(number + 1));
      number += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const end = async () => { isOver = true; await publishing; return number; };
  return Object.assign(end, { now: () => number });
}

/** What a tab got of them is all from the first, which is this one at the latest, and each once. */
function assertWhole(texts, latestFirst, what) {
  const got = texts.map(Number);
  assert.ok(got.length > 0, `${what} got something`);
  assert.ok(got[0] <= latestFirst, `${what} begins with ${got[0]}, and ${latestFirst} came after it was open`);
  assert.deepEqual(got, got.map((_, at) => got[0] + at), `${what} has each once, in order`);
}

test('a tab gets what is published, and is told how the stream is', async () => {
  await start();
  await server.publish('news', 'before');
  const one = await (await tab()).opened(server.url, ['news', 'alerts'], { types: ['alert'] });
  const { id } = await server.publish('news', 'olá 🦀\nline two\u2028');
  await server.publish('alerts', 'fire', '?event=alert');
  await server.publish('alerts', 'not asked for', '?event=other');
  await server.publish('broadcast', 'to all');
  await one.got('to all');
  const messages = await one.messages();
  assert.deepEqual(messages.map(({ type, canal, mensagem }) => [type, canal, mensagem]), [
    ['message', 'news', 'olá 🦀\nline two\u2028'], ['alert', 'alerts', 'fire'], ['message', 'broadcast', 'to all'],
  ]);
  assert.equal(messages[0].id, id);
  assert.ok(Math.abs(messages[0].timestamp - Date.now()) < 60_000);
  assert.deepEqual(await one.statuses(), ['connecting', 'open']);
  await one.end();
  assert.deepEqual(await one.statuses(), ['connecting', 'open', 'closed']);
  await until('the server has no client', async () => (await clients()) === 0);
  await server.publish('news', 'after the end');
  assert.equal((await one.messages()).length, 3);
});

test('six tabs and two windows have one stream; the leading one is closed 50 times under traffic, and each has each message once', async () => {
  await start({ HISTORY_EVENTS: '10000' });
  const join = async (open) => {
    const joined = await open;
    tabs.push(joined);
    await joined.opened(server.url, ['news']);
    return joined;
  };
  let all = [];
  for (let i = 0; i < 6; i++) all.push(await join(browser.tab(pages.url)));
  for (let i = 0; i < 2; i++) all.push(await join(browser.window(pages.url)));
  assert.equal(await clients(), 1);
  const end = numbers('news');
  const first = new Map(all.map((one) => [one, 1]));
  for (let closed = 0; closed < 50; closed++) {
    const leading = await until('one tab leads', async () => {
      const leads = await Promise.all(all.map((one) => one.leads()));
      return all[leads.indexOf(true)];
    });
    const now = await until('something is published', end.now);
    await leading.got(String(now));
    assertWhole(await leading.texts(), first.get(leading), `the tab that is closed as number ${closed}`);
    await leading.close();
    all = all.filter((one) => one !== leading);
    const next = await join(browser.tab(pages.url));
    first.set(next, end.now() + 1);
    all.push(next);
  }
  const last = await end();
  for (const [at, one] of all.entries()) {
    await one.got(String(last));
    assertWhole(await one.texts(), first.get(one), `tab ${at}`);
    assert.deepEqual(await one.gaps(), []);
  }
  await until('the server counts one client', async () => (await clients()) === 1);
});
