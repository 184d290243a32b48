// The client for pages in a real browser (BROWSER: chromium or firefox) against the real server. Called by tests/it/client.rs.

import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
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
  // History enough for a tab that a busy machine keeps waiting: what is published meanwhile is no gap.
  server = await Server.start({ HEARTBEAT: '1', HISTORY_EVENTS: '10000', ...variables });
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
  const publish = async () => {
    await server.publish(channel, String(number + 1));
    number += 1;
  };
  const publishing = (async () => {
    while (!isOver) {
      await publish();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  // Whoever calls `end` is told of it; a test that fails before has ended the server.
  publishing.catch(() => {});
  // The last one is for who came behind all others.
  const end = async () => { isOver = true; await publishing; await publish(); return number; };
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
  await start();
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
    // One may have been on its way.
    first.set(next, end.now() + 2);
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

test('a tab that comes later begins with the history it wants, and the stream is still one', async () => {
  await start();
  for (let i = 1; i <= 5; i++) await server.publish('news', `old ${i}`);
  const one = await (await tab()).opened(server.url, ['news'], { last: 2 });
  await server.publish('news', 'new');
  await one.got('new');
  const two = await (await tab()).opened(server.url, ['news'], { since: 0 });
  const three = await (await tab()).opened(server.url, ['news']);
  await server.publish('news', 'newer');
  for (const each of [one, two, three]) await each.got('newer');
  assert.deepEqual(await one.texts(), ['old 4', 'old 5', 'new', 'newer']);
  assert.deepEqual(await two.texts(), ['old 1', 'old 2', 'old 3', 'old 4', 'old 5', 'new', 'newer']);
  assert.deepEqual(await three.texts(), ['newer']);
  assert.equal(await clients(), 1);
});

test('what is published while nobody has the stream is not lost, though no message has come before', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news']);
  const two = await (await tab()).opened(server.url, ['news']);
  server.freeze();
  const leading = (await one.leads()) ? one : two;
  const other = leading === one ? two : one;
  await leading.close();
  server.thaw();
  await server.publish('news', 'in between');
  await other.got('in between');
  assert.deepEqual(await other.texts(), ['in between']);
});

test('who follows other channels, or with another token, has a stream of its own; so have those that do not want to share', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news', 'alerts']);
  const same = await (await tab()).opened(server.url, ['alerts', 'news', 'news']);
  const other = await (await tab()).opened(server.url, ['news']);
  const token = await (await tab()).opened(server.url, ['news'], { token: TOKEN });
  const alone = await (await tab()).opened(server.url, ['news'], { tabs: false });
  assert.equal(await clients(), 4);
  await server.publish('news', 'x');
  for (const each of [one, same, other, token, alone]) {
    await each.got('x');
    assert.equal((await each.texts()).length, 1);
  }
});

test('a tab without Web Locks, as in pages of plain http, has a stream of its own', async () => {
  await start();
  const [one, two] = [await tab(pages.insecure), await tab(pages.insecure)];
  for (const each of [one, two]) {
    assert.equal(await each.page.evaluate(() => isSecureContext || 'locks' in navigator), false);
    await each.opened('/live', ['news'], { since: 0 });
  }
  assert.equal(await clients(), 2);
  await server.publish('news', 'x');
  for (const each of [one, two]) await each.got('x');
  await server.restart();
  // It is back so soon that nobody may look in between.
  for (const each of [one, two]) await each.was('lost');
  for (const each of [one, two]) await each.is('open');
  await server.publish('news', 'y');
  for (const each of [one, two]) await each.got('y');
});

test('a server under any path of a proxy can be named by that path, with a slash behind it or not, or by its whole address', async () => {
  await start();
  const named = ['/live', 'live/', `${pages.url}live`];
  for (const name of named) await (await tab()).opened(name, ['news']);
  assert.equal(await clients(), 1, 'all are the same');
  await server.publish('news', 'x');
  for (const each of tabs) await each.got('x');
});

test('a new token is fetched when the old one has expired, and nothing is lost or repeated', async () => {
  await start({ JWT_SECRET: SECRET, ACCESS_FILE: await rules('closed.json', {}) });
  const seconds = 4;
  tokens.give = () => signed(seconds);
  const one = await (await tab()).opened(server.url, ['news'], { token: '/token' });
  const two = await (await tab()).opened(server.url, ['news'], { token: '/token' });
  const end = numbers('news');
  const [before, begun] = [tokens.asked, Date.now()];
  await until('three more tokens were needed', () => tokens.asked >= before + 3);
  // The other tab's token has expired long since, which it learns when it takes over.
  const [leading, other] = (await one.leads()) ? [one, two] : [two, one];
  assertWhole(await leading.texts(), 1, 'the leading tab');
  assert.deepEqual(await leading.statuses(), ['connecting', 'open'], 'a new token is no loss');
  await leading.close();
  await until('the other tab has needed one, too', () => tokens.asked >= before + 5);
  const last = await end();
  await other.got(String(last));
  assertWhole(await other.texts(), 1, 'the other tab');
  assert.deepEqual(await other.statuses(), ['connecting', 'open'], 'nor is one that was old');
  const most = 3 + (Date.now() - begun) / 1000 / seconds;
  assert.ok(tokens.asked - before <= most, `${tokens.asked - before} tokens, and each is good for ${seconds} s: at most ${most}`);
});

test('a token that is refused is replaced as well, and a function that fails is called again', async () => {
  await start({ JWT_SECRET: SECRET, ACCESS_FILE: await rules('closed.json', {}) });
  const given = ['nonsense', signed(-10), signed(60, 'another secret, also of 32 bytes or more')];
  tokens.give = () => given.shift() ?? signed(60);
  const one = await (await tab()).opened(server.url, ['news'], { token: '/token' });
  assert.equal(tokens.asked, 4);
  assert.deepEqual(await one.statuses(), ['connecting', 'lost', 'open']);
  const two = await tab();
  await two.page.evaluate(() => { window.fetch = new Proxy(window.fetch, { apply(target, self, [url, ...rest]) {
    if (url === '/token' && !window.hasFailed) { window.hasFailed = true; throw new Error('no network'); }
    return Reflect.apply(target, self, [url, ...rest]);
  } }); });
  await two.opened(server.url, ['news'], { token: '/token' });
  assert.deepEqual(await two.statuses(), ['connecting', 'lost', 'open']);
});

test('a token that is a text ends with its time, and every tab with it', async () => {
  await start({ JWT_SECRET: SECRET, ACCESS_FILE: await rules('closed.json', {}) });
  const both = [await tab(), await tab()];
  // Time enough for both to open their stream on a busy machine.
  const token = signed(15);
  await Promise.all(both.map((each) => each.follow(server.url, ['news'], { token })));
  for (const each of both) {
    await each.until('it is closed', () => window.statuses.at(-1)?.startsWith('closed'));
    const [first, second, last, ...more] = await each.statuses();
    assert.deepEqual([first, second, ...more], ['connecting', 'open']);
    // A tab whose turn to lead comes before it hears of the end asks, and has the words of the refusal.
    assert.match(last, /expired/);
  }
  await until('the server has no client', async () => (await clients()) === 0);
});

test('a right that is taken away, or that was never there, closes', async () => {
  const token = 'a-token-that-is-long-enough';
  const given = { tokens: [{ name: 'page', token, subscribe: ['news'] }] };
  await start({ ACCESS_FILE: await rules('changing.json', given) });
  const one = await (await tab()).opened(server.url, ['news'], { token });
  await rules('changing.json', {});
  server.child.kill('SIGHUP');
  await one.is('closed: revoked');
  const two = await (await tab()).follow(server.url, ['news'], { token });
  await two.until('it is closed', () => window.statuses.at(-1)?.startsWith('closed: '));
  const three = await (await tab()).follow(server.url, ['no good name']);
  await three.until('it is closed', () => window.statuses.at(-1)?.startsWith('closed: '));
  const [[, refused], [, bad]] = [await two.statuses(), await three.statuses()];
  assert.match(refused, /token/);
  assert.match(bad, /no good name/);
});

test('all tabs come back to a server that restarts, and are told of the gap', async () => {
  await start();
  const all = [];
  for (let i = 0; i < 3; i++) all.push(await (await tab()).opened(server.url, ['news']));
  const { id } = await server.publish('news', 'before');
  for (const each of all) await each.got('before');
  await server.kill();
  for (const each of all) await each.is('lost');
  await server.restart();
  await server.publish('news', 'while it was away');
  for (const each of all) {
    await each.got('while it was away');
    await each.is('open');
    assert.deepEqual(await each.texts(), ['before', 'while it was away']);
    assert.deepEqual((await each.gaps()).filter(({ canal }) => canal === 'news'), [{ canal: 'news', after: id }]);
  }
  assert.equal(await clients(), 1);
});

test('a server that falls silent is noticed, and what it publishes later is got', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news'], { silence: 4000 });
  const two = await (await tab()).opened(server.url, ['news'], { silence: 4000 });
  server.freeze();
  for (const each of [one, two]) await each.is('lost');
  server.thaw();
  await server.publish('news', 'awake');
  for (const each of [one, two]) {
    await each.got('awake');
    await each.is('open');
    assert.deepEqual(await each.texts(), ['awake']);
  }
});

test('heartbeats are no silence', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news'], { silence: 15_000 });
  const begun = await one.page.evaluate(() => performance.now());
  await one.until('more than that is over', (begun) => performance.now() > begun + 18_000, begun);
  assert.deepEqual(await one.statuses(), ['connecting', 'open']);
});

test('another tab takes over from one that stands still, which then goes on without a loss or a repeat', async () => {
  await start();
  const options = { silence: 3000 };
  const all = [];
  for (let i = 0; i < 3; i++) all.push(await (await tab()).opened(server.url, ['news'], options));
  let still;
  let others;
  let stands;
  // It has to stand still for longer than a busy machine takes to notice.
  for (let seconds = 20, isNoticed = false; !isNoticed; seconds *= 2) {
    await stands;
    assert.ok(seconds <= 80, 'no tab takes over');
    still = await until('one tab leads', async () => {
      const leads = await Promise.all(all.map((each) => each.leads()));
      return all[leads.indexOf(true)];
    });
    others = all.filter((each) => each !== still);
    stands = still.page.evaluate((seconds) => { for (const end = Date.now() + seconds * 1000; Date.now() < end;); }, seconds);
    const leads = async () => (await Promise.all(others.map((each) => each.leads()))).includes(true);
    isNoticed = await until('another tab leads', leads, seconds * 1000).catch(() => false);
  }
  const end = numbers('news');
  await others[0].got('20');
  await stands;
  const last = await end();
  for (const each of all) {
    await each.got(String(last));
    assertWhole(await each.texts(), 1, each === still ? 'the tab that stood still' : 'another tab');
    assert.deepEqual(await each.gaps(), []);
  }
  await until('the server has one client', async () => (await clients()) === 1);
});

test('a page that is left has no stream, and goes on where it was when the user comes back', async () => {
  await start();
  for (const url of [pages.url, pages.insecure]) {
    const one = await (await tab(url)).opened('/live', ['news']);
    const two = await (await tab(url)).opened('/live', ['news']);
    const first = (await server.publish('news', 'first')).id;
    for (const each of [one, two]) await each.got('first');
    const leading = url === pages.insecure || (await one.leads()) ? one : two;
    const other = leading === one ? two : one;
    await leading.page.goto(`${url}elsewhere`);
    await until('its stream is closed', async () => (await clients()) === 1);
    await server.publish('news', 'meanwhile');
    await other.got('meanwhile');
    // The page may be gone before it can answer.
    await leading.page.evaluate(() => history.back()).catch(() => {});
    await leading.until('the page is back', () => window.isReady);
    // Not every browser keeps it as it was; where it is loaded anew, it follows anew.
    const isKept = await leading.page.evaluate(() => window.messages.length > 0);
    if (!isKept) await leading.opened('/live', ['news'], { since: first });
    await server.publish('news', 'last');
    for (const each of [leading, other]) await each.got('last');
    assert.deepEqual((await leading.texts()).slice(isKept ? 1 : 0), ['meanwhile', 'last']);
    assert.deepEqual(await other.texts(), ['first', 'meanwhile', 'last']);
    await until('the streams are those of before', async () => (await clients()) === (url === pages.insecure ? 2 : 1));
    await one.close();
    await two.close();
    await until('all have left', async () => (await clients()) === 0);
  }
});

test('events that are called error or open are events', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news'], { types: ['error', 'open'] });
  for (const name of ['error', 'open', 'message']) await server.publish('news', name, `?event=${name}`);
  await one.got('message');
  assert.deepEqual((await one.messages()).map(({ type, mensagem }) => [type, mensagem]), [['error', 'error'], ['open', 'open'], ['message', 'message']]);
  assert.deepEqual(await one.statuses(), ['connecting', 'open']);
});

test('a full server is asked again, less and less often, until there is room', async () => {
  await start({ MAX_CLIENTS: '1' });
  const leave = await server.listen('other', 1);
  const one = await tab();
  // By the page's own clock: a busy machine makes a wait longer, and never shorter.
  await one.page.evaluate(() => {
    const waits = (window.waits = []);
    let refusedAt;
    window.fetch = new Proxy(window.fetch, { async apply(target, self, asked) {
      if (!String(asked[0]).includes('/sse?')) return Reflect.apply(target, self, asked);
      if (refusedAt) waits.push(performance.now() - refusedAt);
      const answer = await Reflect.apply(target, self, asked);
      refusedAt = performance.now();
      return answer;
    } });
  });
  await one.follow(server.url, ['news']);
  await one.is('lost');
  await one.until('it has asked four times', () => window.waits.length >= 3);
  const waits = await one.page.evaluate(() => window.waits);
  // Half of each is chance. Timers may be early by less than a millisecond.
  for (const [at, wait] of waits.entries()) assert.ok(wait >= Math.min(1000 * 2 ** at, 15_000) - 1, `it waits ${waits} ms`);
  leave();
  await one.is('open');
  assert.deepEqual(await one.statuses(), ['connecting', 'lost', 'open']);
});

test('functions of the page that throw stop nothing', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news'], { throwing: true });
  await server.publish('news', 'a');
  await server.publish('news', 'b');
  await one.got('b');
  assert.deepEqual(await one.texts(), ['a', 'b']);
  assert.deepEqual(await one.statuses(), ['connecting', 'open']);
  await until('the page has its errors', () => one.errors.length === 2);
  one.errors = [];
});

test('what is followed twice in one tab, and closed once, goes on', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news']);
  await one.page.evaluate(() => { window.first = window.stream; });
  await one.opened(server.url, ['news']);
  await server.publish('news', 'to both');
  await one.until('both have it', () => window.messages.length === 2);
  assert.equal(await clients(), 1);
  await one.page.evaluate(() => window.first.close());
  await server.publish('news', 'to one');
  await one.got('to one');
  assert.deepEqual(await one.texts(), ['to both', 'to both', 'to one']);
});

test('a stream that an operator ends is closed in every tab, and stays so until the page follows again', async () => {
  await start();
  const all = [];
  const asked = [];
  for (let i = 0; i < 3; i++) {
    const one = await tab();
    one.page.on('request', (request) => { if (request.url().includes('/sse?')) asked.push(request.url()); });
    all.push(await one.opened(server.url, ['news']));
  }
  const operator = (path, method) => fetch(`${server.url}${path}`, { method, headers: { Authorization: `Bearer ${TOKEN}` } });
  const { clients: list } = await (await operator('clients?canal=news', 'GET')).json();
  assert.equal(list.length, 1);
  assert.equal((await operator(`clients/${list[0].client}`, 'DELETE')).status, 204);
  for (const each of all) {
    await each.is('closed: ended');
    assert.deepEqual(await each.statuses(), ['connecting', 'open', 'closed: ended']);
  }
  // A lost stream would come back within five seconds, and another tab at once.
  const begun = await all[0].page.evaluate(() => performance.now());
  await all[0].until('six seconds are over', (begun) => performance.now() > begun + 6000, begun);
  // A tab whose turn to lead comes before it hears of the end has asked once.
  assert.ok(asked.length <= all.length, `${asked.length} streams were asked for`);
  assert.equal(await clients(), 0);
  await all[1].opened(server.url, ['news']);
  await server.publish('news', 'again');
  await all[1].got('again');
  assert.deepEqual(await all[0].texts(), []);
});

test('a tab that leads already when it hears that the stream of all was ended ends it, too', async () => {
  await start();
  const one = await (await tab()).opened(server.url, ['news']);
  const name = `sse-client 1 ${server.url} news `;
  assert.equal(await one.page.evaluate(async (name) => (await navigator.locks.query()).held.filter((held) => held.name === name).length, name), 1);
  // What a tab tells that led before.
  await (await tab()).page.evaluate((name) => { new BroadcastChannel(name).postMessage({ after: '', status: 'closed', why: 'ended' }); }, name);
  await one.is('closed: ended');
  await until('the server has no client', async () => (await clients()) === 0);
});

/** A server that says what the real one cannot be made to say; `stream` writes the event stream. */
async function scripted(stream) {
  server = { close() {} };
  let streams = 0;
  const head = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' };
  pages = await site(() => { throw new Error('nothing is behind'); }, {
    '/live/sse-client.js': async (_, outgoing) => outgoing.writeHead(200, { 'Content-Type': 'text/javascript' }).end(await readFile(new URL('../../assets/sse-client.min.js', import.meta.url))),
    '/fake/messages': (_, outgoing) => outgoing.writeHead(200, { 'Last-Event-ID': '100-0' }).end(),
    '/fake/sse': (_, outgoing, url) => stream(outgoing.writeHead(200, head), url, (streams += 1)),
  });
}

const data = (mensagem) => JSON.stringify({ canal: 'news', mensagem, timestamp: 1 });

test('a stream may come in pieces of any size, and with the wait that the server wishes', async () => {
  const text = `:\nretry: 10\nid: 100-1\ndata: ${data('olá 🦀')}\n\n:\nid: 100-2\nevent: alert\ndata: ${data('a: b')}\n\nevent: sse-heartbeat\ndata: {}\n\n`;
  const asked = [];
  await scripted(async (outgoing, url, number) => {
    asked.push(url.searchParams.get('last_event_id'));
    if (number > 1) return outgoing.write(':\n');
    for (const byte of Buffer.from(text)) {
      outgoing.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    outgoing.end();
  });
  const one = await (await tab()).follow('/fake', ['news'], { types: ['alert'] });
  await until('it has come back', () => asked.length === 2);
  assert.deepEqual((await one.messages()).map(({ id, mensagem }) => [id, mensagem]), [['100-1', 'olá 🦀'], ['100-2', 'a: b']]);
  assert.deepEqual(asked, ['100-0', '100-2']);
});

test('ids that begin again lower, since the server has lost its history and its clock was set back, are taken', async () => {
  await scripted((outgoing) => {
    outgoing.write(`:\nretry: 10\nevent: sse-gap\ndata: {"canal":"news","after":"100-0"}\n\nid: 50-0\ndata: ${data('one')}\n\n`);
    outgoing.write(`id: 50-1\ndata: ${data('two')}\n\n`);
  });
  const one = await (await tab()).follow('/fake', ['news']);
  await one.got('two');
  assert.deepEqual(await one.texts(), ['one', 'two']);
  assert.deepEqual(await one.gaps(), [{ canal: 'news', after: '100-0' }]);
});

test('a tab that has missed what the leading one told fetches it', async () => {
  await start();
  const [one, two] = [await tab(), await tab()];
  await one.opened(server.url, ['news']);
  // One message in three does not reach this tab.
  await two.page.evaluate(() => {
    const handler = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage');
    let count = 0;
    Object.defineProperty(BroadcastChannel.prototype, 'onmessage', { set(take) {
      handler.set.call(this, (event) => { if (!event.data?.message || (count += 1) % 3) take(event); });
    } });
  });
  await two.opened(server.url, ['news']);
  const end = numbers('news');
  await one.got('30');
  const last = await end();
  await server.publish('news', 'end');
  await server.publish('news', 'end');
  for (const each of [one, two]) {
    await each.got('end');
    assertWhole((await each.texts()).filter((text) => text !== 'end'), 1, 'a tab');
    await each.got(String(last));
  }
});

/** The lines of a block of a document, with the test's server in the place of the example's. */
async function example(document, mark) {
  const text = await readFile(new URL(`../../${document}`, import.meta.url), 'utf8');
  const [, lines] = text.split(`<!-- ${mark} -->\n`)[1].split(/```\w*\n/);
  return lines.replaceAll('http://localhost:8080', server.url.slice(0, -1));
}

for (const [document, mark, channel] of [['README.md', 'test: page', 'notícias'], ['README.md', 'test: stream', 'news'], ['assets/docs/react.md', 'test: client', 'news'],
  ['assets/docs/pt-BR/README.md', 'test: page', 'notícias'], ['assets/docs/pt-BR/README.md', 'test: stream', 'notícias'], ['assets/docs/pt-BR/react.md', 'test: client', 'notícias']]) {
  test(`the example "${mark}" of ${document} shows what is published, and survives a restart and a refusal`, async () => {
    await start();
    const code = await example(document, mark);
    const one = await tab();
    // Firefox says itself that an EventSource is lost.
    one.page.removeAllListeners('pageerror');
    const logged = [];
    one.page.on('console', (message) => logged.push(message.text()));
    const has = (text) => until(`${text} is logged`, () => logged.some((line) => line.includes(text))).catch((error) => { throw new Error(`${logged}`, { cause: error }); });
    await one.page.evaluate((code) => {
      const script = document.createElement('script');
      script.type = 'module';
      script.textContent = code.replaceAll(/<.?script.*>/g, '');
      document.body.append(script);
    }, code);
    await until('it follows', async () => (await clients()) === 1);
    await server.publish(channel, 'Olá');
    await has('Olá');
    // It is away, and then something in its place refuses.
    await server.kill();
    let isRefused = false;
    const refusing = createServer((_, outgoing) => {
      isRefused = true;
      outgoing.writeHead(503, { 'Access-Control-Allow-Origin': '*', Connection: 'close' }).end();
    }).listen(new URL(server.url).port, '127.0.0.1');
    await until('it was refused', () => isRefused);
    refusing.closeAllConnections();
    await new Promise((resolve) => refusing.close(resolve));
    await server.restart();
    await until('it follows again', async () => (await clients()) === 1);
    await server.publish(channel, 'tudo bem');
    await has('tudo bem');
    assert.equal(logged.filter((line) => line.includes('Olá')).length, 1);
  });
}
