// The statistics page in a real browser (BROWSER: chromium or firefox) against the real server. Called by tests/it/page.rs.

import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser } from './browser.js';
import { inFrontOf } from './front.js';
import { Redis } from './redis.js';
import { Server, TOKEN, until } from './server.js';

const NAME = process.env.BROWSER;
let browser;
let server;
let page;

/** What a browser itself says about an answer that is an error, or that did not come: the tests below cause these. */
const OF_THE_NETWORK = /Failed to load resource|NetworkError|ERR_/;
let mayComplain = /(?!)/;

before(async () => { browser = await Browser.open(NAME); });
after(() => browser?.close());

async function open(variables, size) {
  server = await Server.start(variables);
  page = await browser.page(server.url, size);
  await live();
  return page;
}

afterEach(async () => {
  const seen = page?.seen;
  await page?.close();
  await server?.close();
  page = server = undefined;
  const allowed = mayComplain;
  mayComplain = /(?!)/;
  if (!seen) return;
  assert.deepEqual(seen.complaints.filter((text) => !allowed.test(text)), [], 'the page has no errors and warnings');
  const hosts = new Set(seen.requests.filter((url) => !url.startsWith('data:')).map((url) => new URL(url).hostname));
  assert.deepEqual([...hosts], ['127.0.0.1'], 'the page asks nobody but its server');
  assert.ok(!seen.requests.some((url) => url.includes(TOKEN)), 'the token is in no URL');
});

const text = (selector) => page.$eval(selector, (element) => element.textContent);
const attribute = (selector, name) => page.$eval(selector, (element, name) => element.getAttribute(name), name);
const state = () => attribute('html', 'data-state');
const figure = (series) => text(`.plot[data-series=${series}] .figure`);
const curve = (series) => attribute(`.plot[data-series=${series}] .curve`, 'd');
const live = () => until('the page is live', async () => (await state()) === 'live');
const number = (text) => Number(text.replace(/[^\d.]/g, ''));
const rows = () => page.$$eval('#channels tbody tr', (found) => found.map((row) => [...row.cells].map((cell) => cell.textContent)));
const isShown = (selector) => page.$eval(selector, (element) => element.checkVisibility());

async function type(selector, value) {
  await page.$eval(selector, (element) => { element.value = ''; });
  await page.type(selector, value);
}

/** Presses a button wherever it is by then: what is above it may grow. */
const press = (selector) => page.$eval(selector, (button) => button.click());

async function unlock(token = TOKEN) {
  await type('#token', token);
  await page.keyboard.press('Enter');
}

async function unlocked() {
  await unlock();
  await until('the channels are listed', () => isShown('#listing'));
}

test('it says at once that the server lives, and what it is', async () => {
  await open();
  assert.equal(await text('#state-text'), 'Live');
  const { version } = await server.stats();
  assert.equal(await text('#version'), version);
  assert.equal(await figure('clients'), '0');
  assert.match(await text('#memory_bytes'), /^\d+\.?\d* MB$/);
  assert.match(await text('#uptime_seconds'), /^\d+ sec/);
  assert.equal(await attribute('html', 'lang'), 'en');
  for (const [at, path] of ['openapi.json', 'metrics', 'stats'].entries()) {
    assert.equal(await page.$eval(`footer a:nth-child(${at + 1})`, (link) => link.href), server.url + path);
  }
});

test('numbers and plots follow the traffic', async () => {
  await open();
  const leave = await server.listen('news', 7);
  const quiet = server.traffic('news', 10);
  await until('seven clients are shown', async () => (await figure('clients')) === '7');
  await until('the rates are those of the traffic', async () => {
    const [published, delivered] = [number(await figure('published')), number(await figure('delivered'))];
    return published > 2 && published <= 20 && delivered > 4 * published;
  });
  const before = await curve('published');
  await until('the plot goes on', async () => (await curve('published')) !== before);
  assert.match(await curve('clients'), /^M[\d. L]+h\.01$/, 'one line without a gap');
  assert.match(await page.title(), /^7 · sse-server$/);
  quiet();
  leave();
  await until('all is quiet again', async () => (await figure('clients')) === '0' && (await figure('delivered')) === '0 /s');
  const { messages_published: published } = await server.stats();
  await until('the total is that of /stats', async () => number(await text('#messages_published')) === published);
});

test('it tells when the server goes away and comes back, and plots no line over it', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  for (let i = 0; i < 30; i++) await server.publish('news', 'x');
  await until('the total is shown', async () => (await text('#messages_published')) === '30');
  const colour = () => page.$eval('#messages_published', (element) => getComputedStyle(element).color);
  const fresh = await colour();
  await server.kill();
  await until('the page says so', async () => /^Lost for \d+ sec, reconnecting…$/.test(await text('#state-text')));
  assert.equal(await state(), 'lost');
  assert.notEqual(await colour(), fresh, 'old figures look old');
  assert.equal(await text('#messages_published'), '30', 'but they stay');
  assert.match(await text('#announcement'), /is lost/);
  await until('the seconds are counted', async () => number(await text('#state-text')) >= 4);
  await server.restart();
  await until('the page is back by itself', async () => /^Back after \d+ sec$/.test(await text('#state-text')));
  assert.notEqual(await figure('published'), '-30 /s');
  assert.match(await text('#announcement'), /is back/);
  await until('the figures are those of the new server', async () => (await text('#messages_published')) === '0');
  await until('rates are known again', async () => (await figure('published')) === '0 /s');
  await until('the plot has a gap', async () => (await curve('clients')).split('M').length === 3);
  assert.ok(!(await curve('published')).includes('-'), 'no rate is negative');
  await until('it says Live again', async () => (await text('#state-text')) === 'Live');
});

test('a server that only keeps its sockets counts as lost', async () => {
  await open();
  server.freeze();
  try {
    await until('the silence is noticed', async () => (await state()) === 'lost');
  } finally {
    server.thaw();
  }
  await live();
});

test('a server that shuts down is waited for', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  server.child.kill('SIGTERM');
  await until('the clean end is noticed', async () => (await state()) === 'lost');
  await server.restart();
  await live();
});

test('a token unlocks the channels, a wrong one is said, and it stays in the tab', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await server.publish('alerts', 'x');
  await unlock('not-the-token');
  await until('the page says that it is wrong', async () => /does not know/.test(await text('#token-problem')));
  assert.ok(!(await isShown('#listing')));
  await unlock('não');
  await until('and of one that is none', async () => /does not know/.test(await text('#token-problem')));
  await unlocked();
  await until('the channel is there', async () => (await rows())[0]?.[0] === 'alerts');
  assert.equal(await text('#token-problem'), '');
  assert.equal(await page.$eval('#token', (field) => field.value), '', 'the field does not keep it');
  assert.equal(page.url(), server.url);
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  await page.reload();
  await until('a reload keeps it', () => isShown('#listing'));
  await page.click('#forget');
  await until('it is forgotten', async () => (await isShown('#unlock')) && !(await isShown('#listing')));
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await live();
  await page.reload();
  await live();
  assert.ok(await isShown('#unlock'));
});

test('a token that is no longer good is forgotten, and the figures go on without it', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await unlocked();
  await server.restart({ AUTH_TOKEN: 'another' });
  await until('the page says so', async () => /no longer/.test(await text('#token-problem')));
  await live();
  assert.ok(await isShown('#unlock'));
});

test('the table says which channel is busy, and sorts', async () => {
  await open();
  for (const [channel, messages] of [['calm', 1], ['full', 5], ['tower', 3]]) for (let i = 0; i < messages; i++) await server.publish(channel, 'x');
  const leave = await server.listen('tower', 3);
  const quiet = server.traffic('calm', 10);
  await unlocked();
  const order = async () => (await rows()).map(([name]) => name).join(' ');
  await until('the busy one is on top', async () => (await order()) === 'calm full tower' && number((await rows())[0][2]) > 1);
  assert.match(await text('#active_channels'), /^3busiest: calm$/);
  const sortBy = async (column) => page.$eval(`#channels th:nth-child(${column}) button`, (button) => button.click());
  await sortBy(2);
  await until('by clients', async () => (await order()) === 'tower calm full');
  assert.equal(await attribute('#channels th:nth-child(2)', 'aria-sort'), 'descending');
  assert.equal(await attribute('#channels th:nth-child(3)', 'aria-sort'), null);
  await sortBy(2);
  await until('the other way round', async () => (await order()) === 'calm full tower');
  assert.equal(await attribute('#channels th:nth-child(2)', 'aria-sort'), 'ascending');
  await sortBy(1);
  await until('by name', async () => (await order()) === 'calm full tower');
  const full = (await rows())[1];
  assert.deepEqual([full[1], full[3], full[4]], ['0', '5', '5'], 'clients, messages, history');
  assert.match(full[5], /^\d+ sec$/, 'idle time');
  await page.click('#channels tbody tr:nth-child(3) button');
  await until('a click on a channel watches it', async () => /^Watching tower/.test(await text('#watch-state')));
  assert.equal(await page.$eval('#publish-channel', (field) => field.value), 'tower');
  quiet();
  leave();
});

test('ten thousand channels do not freeze it', async () => {
  await open();
  const names = Array.from({ length: 10_000 }, (_, at) => `room-${at}`);
  const publishers = Array.from({ length: 8 }, async () => { while (names.length) await server.publish(names.pop(), 'x'); });
  await Promise.all(publishers);
  await unlocked();
  await until('the first hundred are shown', async () => (await rows()).length === 100 && (await text('#shown')) === '100 of 10,000');
  const longest = await page.evaluate(() => new Promise((resolve) => {
    let [last, most] = [performance.now(), 0];
    const end = last + 4000;
    const tick = () => {
      const now = performance.now();
      [most, last] = [Math.max(most, now - last), now];
      if (now < end) setTimeout(tick);
      else resolve(most);
    };
    tick();
  }));
  assert.ok(longest < 1000, `the page stood still for ${Math.round(longest)} ms`);
  await page.click('#more');
  await until('more are shown on demand', async () => (await rows()).length === 200);
  await type('#filter', 'ROOM-9999');
  await until('one is found by its name', async () => (await rows()).length === 1 && (await rows())[0][0] === 'room-9999');
  await type('#filter', 'nothing like it');
  await until('or none is', async () => /No channel/.test(await text('#none')));
});

test('the box publishes, and says what came of it', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  const leave = await server.listen('news', 2);
  await type('#publish-text', 'olá\nmundo');
  await press('#publish .main');
  await until('without a token the server says why not', async () => /needs a token/.test(await text('#publish-result')));
  await unlocked();
  await type('#publish-event', 'alert');
  await press('#publish .main');
  await until('the answer is shown', async () => /^Published as \d+-\d+; clients on this server: 2$/.test(await text('#publish-result')));
  const { messages_published: published } = await server.stats();
  assert.equal(published, 1);
  await type('#publish-event', 'sse-mine');
  await page.focus('#publish-text');
  await page.keyboard.down('Control');
  await page.keyboard.press('Enter');
  await page.keyboard.up('Control');
  await until('and a problem is, with what would be right', async () => /“sse-mine” cannot be an event name/.test(await text('#publish-result')) && /bad/.test(await attribute('#publish-result', 'class')));
  leave();
});

const items = () => page.$$eval('#messages li', (found) => found.map((item) => ({ text: item.querySelector('.text').textContent, about: item.querySelector('.small').textContent })));

test('a channel is watched live, and its messages are text', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await type('#watch-channel', 'news, alerts');
  await page.keyboard.press('Enter');
  await until('it listens', async () => (await server.stats()).connected_clients === 1);
  const hostile = '<img src=x onerror="document.title=\'hacked\'"><b>bold</b>';
  const { id } = await server.publish('alerts', hostile, '?event=door');
  await until('the message is there', async () => (await items()).length === 1);
  const [first] = await items();
  assert.equal(first.text, hostile);
  for (const part of ['alerts', 'door', id]) assert.ok(first.about.includes(part), `${part} is in ${first.about}`);
  assert.equal(await page.$('#messages img, #messages b'), null);
  assert.match(await page.title(), /sse-server$/);

  await page.click('#pause');
  for (let i = 0; i < 3; i++) await server.publish('news', `meanwhile ${i}`);
  await until('a pause counts', async () => (await text('#watch-state')) === 'Paused: 3 messages meanwhile');
  assert.equal((await items()).length, 1);
  await page.click('#pause');
  await until('and shows them afterwards, newest first', async () => (await items()).map((item) => item.text).slice(0, 3).join() === 'meanwhile 2,meanwhile 1,meanwhile 0');

  await server.restart();
  await until('a restart shows as a gap', async () => (await items()).some((item) => item.about.includes('newssse-gap')));
  for (let i = 0; i < 250; i++) await server.publish('news', `${i}`);
  await until('the list is capped', async () => (await items()).length === 200 && (await items())[0].text === '249');
  await page.click('#watch-button');
  await until('it stops', async () => (await server.stats()).connected_clients === 0);

  await type('#watch-channel', 'not a name');
  await page.keyboard.press('Enter');
  await until('a name that is none is said', async () => /not a name/.test(await text('#watch-state')));
});

/** What a new shell makes of a line, within some seconds: a stream has no end. */
const inShell = (line) => new Promise((resolve) => {
  execFile('sh', ['-c', line], { env: { PATH: process.env.PATH }, timeout: 4000 }, (_, output) => resolve(output));
});

/** A server on which everything takes a token. */
async function openClosed(size) {
  const rules = join(tmpdir(), `sse-server-page-${process.pid}-${NAME}.json`);
  await writeFile(rules, JSON.stringify({ tokens: [{ name: 'reader', token: 'reader-token-of-16-bytes', subscribe: ['*'], stats: true }] }));
  try {
    return await open({ ACCESS_FILE: rules }, size);
  } finally {
    await rm(rules);
  }
}

const copied = async (selector) => {
  await page.evaluate(() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; });
  await page.click(selector);
  return page.evaluate(() => window.copied);
};

test('curl commands work in a new shell on a closed server, and do not show the token', async () => {
  await openClosed();
  await type('#watch-channel', "joe's-room?,b");
  assert.equal(await text('#watch-command'), `curl -N '${server.url}sse/joe%27s-room%3F,b'`);
  await type('#publish-channel', '..');
  await type('#publish-text', "it's");
  assert.equal(await text('#publish-command'), `curl -H 'Authorization: Bearer TOKEN' --data-raw 'it'\\''s' '${server.url}publish?canal=..'`);
  await unlocked();
  assert.equal(await text('#publish-command'), `curl -H 'Authorization: Bearer ••••••' --data-raw 'it'\\''s' '${server.url}publish?canal=..'`);
  assert.ok(!(await page.content()).includes(TOKEN), 'the token is nowhere in the page');
  const published = JSON.parse(await inShell(await copied('[data-copy=publish-command]')));
  assert.equal(published.canal, '..');
  await until('it says that it is copied', async () => (await text('[data-copy=publish-command]')) === 'Copied');
  const line = await copied('[data-copy=watch-command]');
  const stream = inShell(line);
  await until('curl listens', async () => (await server.stats()).connected_clients === 1);
  await server.publish('b', 'by curl');
  assert.match(await stream, /^data: by curl$/m);
  await press('#publish .main');
  await until('dots are a name like another', async () => /^Published/.test(await text('#publish-result')));
});

test('without a clipboard the line is selected, and masked again when it was copied', async () => {
  await open();
  await unlocked();
  await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); });
  await page.click('[data-copy=publish-command]');
  await until('it is selected', async () => (await page.evaluate(() => getSelection().toString())).includes(TOKEN));
  await page.evaluate(() => document.execCommand('copy'));
  await until('it is masked', async () => !(await page.content()).includes(TOKEN));
});

test('the keyboard reads a plot', async () => {
  await open();
  await until('there is something to read', async () => (await curve('clients')).includes('L'));
  await page.focus('.plot .canvas');
  const focused = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  await page.keyboard.press('ArrowLeft');
  assert.notEqual(focused, 'none', 'focus is visible');
  assert.match(await attribute('.plot .canvas', 'aria-valuetext'), /^\d+:\d\d:\d\d.*(0|no data)$/);
  assert.equal(await attribute('.plot .canvas', 'aria-valuenow'), '-1');
  assert.match(await attribute('.plot[data-series=delivered] .cursor', 'd'), /^M/, 'all plots show that moment');
  await page.keyboard.press('Home');
  assert.match(await attribute('.plot .canvas', 'aria-valuetext'), /no data$/);
  await page.keyboard.press('Escape');
  assert.equal(await attribute('.plot .cursor', 'd'), '');
});

for (const width of [320, 360]) {
  test(`nothing is wider than a screen of ${width} px, in any state`, async () => {
    await open({}, { width, height: 700 });
    mayComplain = OF_THE_NETWORK;
    const fits = async (when) => {
      const [needed, there] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(needed <= there, `${when}: ${needed} px are needed, ${there} px are there`);
    };
    await fits('at first');
    await unlock('wrong');
    await until('the token is wrong', async () => (await text('#token-problem')) !== '');
    await fits('with a wrong token');
    const long = 'W'.repeat(128);
    const quiet = server.traffic(long, 20);
    await server.publish('b'.repeat(20), 'x');
    await unlocked();
    await until('the long name is there', async () => (await rows()).some(([name]) => name === long));
    await until('it is the busiest', async () => /busiest/.test(await text('#active_channels')));
    await fits('with channels');
    await type('#watch-channel', long);
    await page.keyboard.press('Enter');
    await until('it is watched', async () => (await text('#watch-state')).startsWith('Watching W'));
    await server.publish(long, 'W'.repeat(3000), `?event=${'E'.repeat(60)}`);
    await until('the long message is there', async () => (await items()).some((item) => item.text.startsWith('WWWW')));
    await type('#publish-channel', long);
    await press('#publish .main');
    await type('#publish-text', 'x');
    await press('#publish .main');
    await until('the answer is there', async () => /^Published/.test(await text('#publish-result')));
    await fits('while it watches');
    quiet();
    await server.kill();
    await until('it is lost', async () => (await state()) === 'lost');
    await fits('while it is lost');
  });
}

test('assistive technology finds nothing to complain about, in any state', async () => {
  const axe = await readFile(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
  const looks = [{}, { language: 'pt-BR', dark: true }, { dark: true, width: 390 }, { language: 'pt-BR', width: 390 }];
  for (const { language, dark, width } of looks) {
    const own = await Browser.open(NAME, { language, dark });
    try {
      server = await Server.start();
      page = await own.page(server.url, { width, height: 844 });
      await page.evaluate(axe);
      const isFine = async (when) => {
        const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } }));
        const violations = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`);
        assert.ok(found.passes.length > 20, 'it looked');
        assert.deepEqual(violations, [], `${when}, ${dark ? 'dark' : 'light'}, ${language}, ${width}`);
      };
      await live();
      await isFine('at first');
      await unlock('wrong');
      await until('the token is wrong', async () => (await text('#token-problem')) !== '');
      await isFine('with a wrong token');
      const leave = await server.listen('a-channel', 2);
      await unlocked();
      await page.click('#watch-button');
      await until('it listens', async () => (await server.stats()).connected_clients === 3);
      await isFine('with nothing yet');
      await server.publish('news', '{"door": [1]}', '?event=alert');
      await until('the message is there', async () => (await items()).length === 1);
      await until('the clients are listed', () => isShown('#clients tbody tr'));
      await type('#publish-text', 'x');
      await press('#publish .main');
      await until('the answer is there', async () => /^Publi(shed|cada)/.test(await text('#publish-result')));
      await isFine('in full use');
      await type('#publish-event', 'sse-x');
      await press('#publish .main');
      await until('the refusal is there', async () => /sse-x/.test(await text('#publish-result')));
      await type('#watch-channel', 'no name');
      await page.keyboard.press('Enter');
      await until('the refusal is there', async () => /no name/.test(await text('#watch-state')));
      await isFine('with refusals');
      leave();
      await server.kill();
      await until('it is lost', async () => (await state()) === 'lost');
      await isFine('while it is lost');
      await page.close();
    } finally {
      page = undefined;
      await own.close();
      await server.close();
    }
  }
});

test('its policy lets no other script run and no other server be asked', async () => {
  await open();
  mayComplain = /Content.Security.Policy|Trusted ?Type|violates|blocked|Refused|Failed to load/i;
  const other = await Server.start();
  const outcome = await page.evaluate(async (url) => {
    const tried = {};
    try {
      const script = document.createElement('script');
      script.textContent = 'window.injected = true';
      document.head.append(script);
    } catch { /* Trusted types refuse it even earlier. */ }
    tried.injected = Boolean(window.injected);
    tried.asked = await fetch(`${url}stats`).then(() => true, () => false);
    return tried;
  }, other.url);
  const { requests } = page.seen;
  page.seen.requests = requests.filter((url) => !url.startsWith(other.url));
  await other.close();
  assert.deepEqual(outcome, { injected: false, asked: false });
});

test('several servers are shown together, and that Redis is away', async () => {
  const redis = await Redis.start();
  const other = await Server.start({ REDIS_URL: redis.url });
  server = await Server.start({ REDIS_URL: redis.url });
  const leaving = new AbortController();
  const listen = ({ url }) => fetch(`${url}sse/news`, { signal: leaving.signal });
  try {
    // Kept: Node ends the stream of an answer that nobody holds any more.
    const streams = await Promise.all([listen(server), listen(other), listen(other)]);
    page = await browser.page(server.url);
    await live();
    const cells = () => page.$$eval('#servers tr', (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
    await until('both servers and their clients are shown', async () => (await cells()).at(-1)?.[1] === '3');
    assert.ok(await isShown('#cluster') && await isShown('#now'));
    const found = await cells();
    assert.equal(found.length, 4, 'heads, two servers, and the sum');
    const port = ({ address }) => `:${address.split(':')[1]}-`;
    assert.ok(found[1][0].includes(port(other)) && found[1][1] === '2', `the one with most clients first: ${found[1]}`);
    assert.ok(found[2][0].includes(port(server)) && found[2][1] === '1', `then the other: ${found[2]}`);
    assert.equal(found[3][0], 'Together');
    assert.ok(!(await isShown('#redis-away')));
    await redis.kill();
    await until('Redis is away', () => isShown('#redis-away'));
    assert.ok(streams.every(({ ok }) => ok));
  } finally {
    leaving.abort();
    await other.close();
    await redis.kill();
  }
});

test('another server that answers in its place is no burst of messages', async () => {
  const older = await Server.start();
  for (let i = 0; i < 300; i++) await older.publish('news', 'x');
  await until('it is older by some seconds', async () => (await older.stats()).uptime_seconds >= 4);
  server = await Server.start();
  const front = await inFrontOf(server);
  try {
    page = await browser.page(front.url);
    await until('rates are known', async () => (await figure('published')) === '0 /s');
    mayComplain = OF_THE_NETWORK;
    front.behind = older;
    await server.kill();
    const rates = new Set();
    await until('the other one answers', async () => rates.add(await figure('published')) && (await text('#messages_published')) === '300');
    const { uptime_seconds: uptime } = await older.stats();
    await until('some seconds went by', async () => rates.add(await figure('published')) && (await older.stats()).uptime_seconds >= uptime + 3);
    assert.deepEqual([...rates].filter((rate) => !['0 /s', '– /s'].includes(rate)), []);
    assert.equal(await figure('published'), '0 /s', 'they are known again');
  } finally {
    front.close();
    await older.close();
  }
});

test('it speaks Portuguese with those who do, and is dark for those who like it', async () => {
  const brazilian = await Browser.open(NAME, { language: 'pt-BR', dark: true });
  try {
    server = await Server.start();
    page = await brazilian.page(server.url);
    await live();
    assert.equal(await attribute('html', 'lang'), 'pt-BR');
    assert.equal(await text('#state-text'), 'Ao vivo');
    assert.equal(await text('#channels-title'), 'Canais');
    for (let i = 0; i < 1234; i++) await server.publish('news', 'x');
    await until('numbers are written the Brazilian way', async () => (await text('#messages_published')) === '1.234');
    const [background, ink] = await page.evaluate(() => {
      const style = getComputedStyle(document.body);
      return [style.backgroundColor, style.color].map((colour) => Math.max(...colour.match(/\d+/g).slice(0, 3)));
    });
    assert.ok(background < 40 && ink > 200, 'light on dark');
    await page.close();
  } finally {
    page = undefined;
    await brazilian.close();
  }
});

test('every text is there in both languages', async () => {
  const source = await readFile(new URL('../../assets/index.html', import.meta.url), 'utf8');
  const [html, script] = source.split('<script type="module">');
  const texts = [...script.matchAll(/\bt\('((?:\\'|[^'])+)'(, '((?:\\'|[^'])+)')?/g)];
  assert.ok(texts.length > 60, `${texts.length} texts`);
  assert.deepEqual(texts.filter(([, , , portuguese]) => !portuguese).map(([, english]) => english), []);
  const bare = [...html.replace(/<style>.*<\/style>/s, '').matchAll(/<(h2|label|button|dt|p|a|span)\b([^>]*)>([^<]+)</g)].filter(([, , attributes, content]) => content.trim() && !attributes.includes('data-pt='));
  // What it says to those without scripts is in English alone.
  assert.deepEqual(bare.map(([, , , content]) => content).filter((content) => !/JavaScript|^stats$|^metrics$/.test(content)), []);
});

test('it is one file of less than 60 KB', async () => {
  const source = await readFile(new URL('../../assets/index.html', import.meta.url));
  assert.ok(source.length < 60 * 1024, `${source.length} bytes`);
});

const messages = async () => (await items()).map((item) => item.text);
const watchState = () => text('#watch-state');
const isFocused = (selector) => page.evaluate((selector) => document.activeElement.matches(selector), selector);

test('the plots show what was before the page, and go on where it was away', async () => {
  server = await Server.start();
  const quiet = server.traffic('news', 20);
  const kept = async () => (await (await fetch(`${server.url}stats/history`)).json()).samples.length;
  await until('there is something to show', async () => (await kept()) >= 5);
  page = await browser.page(server.url);
  const points = async (series) => (await curve(series)).split('L').length;
  await until('it is there at once', async () => (await points('clients')) >= 5, 3000);
  assert.ok((await points('published')) >= 4);
  await page.reload();
  await until('after a reload as well', async () => (await points('clients')) >= 6, 3000);
  for (const series of ['clients', 'published']) assert.match(await curve(series), /^M[\d. L]+h\.01$/, 'one line without a gap');
  quiet();
});

test('watching begins with what is retained, and the address keeps it', async () => {
  await open();
  for (const channel of ['news', 'são paulo'.replace(' ', '-')]) await server.publish(channel, `in ${channel}`);
  assert.match(await text('#watch-empty'), /Messages appear here/);
  await page.click('#watch-button');
  await until('what is retained is there', async () => (await messages()).join() === 'in news');
  assert.equal(page.url(), `${server.url}#news`);
  await type('#watch-channel', 'news,são-paulo');
  assert.equal(await text('#watch-button'), 'Watch', 'the field has another channel');
  await page.keyboard.press('Enter');
  await until('both are there', async () => (await messages()).join() === 'in são-paulo,in news');
  assert.equal(await text('#watch-button'), 'Stop');
  await page.reload();
  await until('a reload keeps what was watched', async () => (await messages()).length === 2);
  assert.equal(await page.$eval('#watch-channel', (field) => field.value), 'news,são-paulo');
  await page.click('#watch-button');
  await until('it stops', async () => (await server.stats()).connected_clients === 0);
  assert.equal(page.url(), server.url);
  await page.evaluate(() => { location.hash = '#quiet'; });
  await until('a link is followed', async () => /^Watching quiet/.test(await watchState()));
  assert.match(await text('#watch-empty'), /No message yet/);
  await page.evaluate(() => { location.hash = '#%ff'; });
  await live();
});

test('a watch that ends says why, and comes back with the right token', async () => {
  await openClosed();
  mayComplain = OF_THE_NETWORK;
  await server.publish('news', 'before');
  await page.click('#watch-button');
  await until('it says what is missing', async () => /^This needs a token/.test(await watchState()));
  assert.equal(await text('#watch-button'), 'Watch', 'it has ended');
  await page.click('#watch-state button');
  assert.ok(await isFocused('#token'), 'a way to the field is beside it');
  await unlocked();
  await until('the right token revives it', async () => (await messages()).join() === 'before');
  assert.equal(await text('#watch-button'), 'Stop');
  await server.publish('news', 'after');
  await until('it is live', async () => (await messages())[0] === 'after');
});

test('after a restart with another token it waits for that one', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await unlocked();
  await page.click('#watch-button');
  await until('it watches', async () => /^Watching/.test(await watchState()));
  await server.restart({ AUTH_TOKEN: 'another-token-of-16-bytes' });
  await until('the token is forgotten', () => isShown('#unlock'));
  await until('the channel is public, so it goes on', async () => /^Watching news/.test(await watchState()));
  await unlock('another-token-of-16-bytes');
  await until('the channels are listed', () => isShown('#listing'));
  assert.equal(await text('#token-problem'), '', 'the error went with its cause');
});

test('after a restart the watch is back with the header', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await page.click('#watch-button');
  await until('it watches', async () => /^Watching/.test(await watchState()));
  await server.kill();
  await until('both are lost', async () => (await state()) === 'lost' && /reconnecting/.test(await watchState()));
  await until('it has tried for some time', async () => number(await text('#state-text')) >= 6);
  await server.restart();
  await live();
  await until('it is back with the header', async () => /^Watching/.test(await watchState()), 1500);
});

test('who is connected is listed, and a stream can be ended', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await server.listen('tower', 2);
  await server.listen('other', 1);
  assert.ok(!(await isShown('#clients-card')), 'not without a token');
  await unlocked();
  const clients = () => page.$$eval('#clients tbody tr', (rows) => rows.map((row) => row.cells[0].textContent));
  await until('all clients are listed', async () => (await clients()).length === 3);
  assert.equal(await text('#clients-title'), 'All clients');
  await until('the channel is there', async () => (await rows()).some(([name]) => name === 'tower'));
  await page.$$eval('#channels .name', (buttons) => buttons.find(({ textContent }) => textContent === 'tower').click());
  await until('those of the channel, with the page itself', async () => (await text('#clients-title')) === 'Clients of tower' && (await clients()).length === 3);
  const own = (await clients()).find((name) => name.includes('AUTH_TOKEN'));
  assert.match(own, /^127\.0\.0\.1:\d+AUTH_TOKEN$/);
  const questions = [];
  page.on('dialog', (dialog) => { questions.push(dialog.message()); dialog.accept(); });
  await page.$$eval('#clients tbody tr', (rows) => rows.find((row) => row.textContent.includes('AUTH_TOKEN')).querySelector('button').click());
  await until('the page says that its own stream was ended', async () => /^An operator has ended this stream/.test(await watchState()));
  assert.match(questions[0], /^End the stream of 127/);
  await until('it is out of the list', async () => (await clients()).length === 2);
  await page.click('#watch-button');
  await until('the button opens it again', async () => /^Watching tower/.test(await watchState()));
  await page.click('#forget');
  await until('the list of clients went with the token', async () => !(await isShown('#clients-card')));
});

test('a message is formatted, copied and downloaded', async () => {
  await open();
  await server.publish('news', '{"door":{"open":true}}', '?event=alert');
  await server.publish('news', '{not json');
  await page.click('#watch-button');
  await until('both are there', async () => (await messages()).length === 2);
  const buttons = () => page.$$eval('#messages li', (found) => found.map((item) => [...item.querySelectorAll('button')].map(({ textContent }) => textContent).join()));
  assert.deepEqual(await buttons(), ['Copy', 'Format,Copy']);
  await page.click('#messages li:last-child button');
  assert.equal((await messages())[1], '{\n  "door": {\n    "open": true\n  }\n}');
  assert.equal(await copied('#messages li:last-child button:last-child'), '{"door":{"open":true}}', 'as it came');
  await page.click('#messages li:last-child button');
  assert.equal((await messages())[1], '{"door":{"open":true}}');
  await page.evaluate(() => {
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return make(blob); };
    HTMLAnchorElement.prototype.click = function click() { window.savedAs = this.download; };
  });
  await page.click('#download');
  const saved = await until('it is saved', () => page.evaluate(() => window.saved));
  assert.equal(await page.evaluate(() => window.savedAs), 'news.ndjson');
  const [first, second] = saved.trimEnd().split('\n').map(JSON.parse);
  assert.deepEqual([first.canal, first.event, first.mensagem], ['news', 'alert', '{"door":{"open":true}}']);
  assert.equal(second.mensagem, '{not json');
  assert.match(second.id, /^\d+-\d+$/);
});

test('operators see limits, delays and refusals', async () => {
  await open({ MAX_CLIENTS: '5' });
  mayComplain = OF_THE_NETWORK;
  await server.listen('news', 5);
  await server.publish('news', 'x');
  await page.click('#watch-button');
  await until('the watch says that the server is full', async () => /^The server is at a limit/.test(await watchState()));
  await until('the limit is full', async () => (await text('#clients_in_use')) === '5of 5');
  assert.ok(await page.$('#clients_in_use .nearly-full'));
  await until('a refusal is counted', async () => /^\d+503: \d+$/.test(await text('#refused')));
  await until('the delay is measured', async () => /^\d+(\.\d)? ms99 in 100: [\d.]+ ms$/.test(await text('#delay')));
  assert.equal(await text('#watch-button'), 'Stop', 'it goes on trying');
});

test('focus stays where the work is, and the list stays sorted after a click', async () => {
  await open();
  await server.publish('a', 'x');
  await server.publish('b', 'x');
  await unlocked();
  assert.ok(await isFocused('#filter'), 'after the token');
  const order = async () => (await rows()).map(([name]) => name).join('');
  await until('by name, as nothing goes on', async () => (await order()) === 'ab');
  await page.click('#channels tbody button');
  const quiet = server.traffic('b', 20);
  await until('the busiest is on top though the pointer rests on the list', async () => (await order()) === 'ba');
  assert.ok(await isFocused('#channels button'), 'the focus went with its row');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'a');
  quiet();
  await page.click('#forget');
  assert.ok(await isFocused('#token'), 'after it is forgotten');
});

test('on a phone a tap on a channel shows it, and nothing is cut off', async () => {
  await open({}, { width: 390, height: 844 });
  const long = 'W'.repeat(128);
  for (const channel of [long, 'news', ...Array.from({ length: 20 }, (_, at) => `channel-${at}`)]) await server.publish(channel, 'x');
  await unlocked();
  await until('they are listed', async () => (await rows()).length === 22);
  const [name, labels, table] = await page.evaluate(() => {
    const found = [...document.querySelectorAll('#channels .name')].find(({ textContent }) => textContent.startsWith('WWW'));
    const scroll = document.querySelector('#channels').parentElement;
    const labels = [...found.closest('tr').cells].slice(1).map((cell) => getComputedStyle(cell, '::before').content && cell.dataset.label);
    return [found.getBoundingClientRect().height, labels, [scroll.scrollWidth, scroll.clientWidth]];
  });
  assert.ok(name <= 64, `a long name takes ${name} px`);
  assert.deepEqual(labels, ['Clients', 'Messages/s', 'Messages', 'History', 'Idle']);
  assert.ok(table[0] <= table[1], `the table is ${table[0]} px wide in ${table[1]} px`);
  await page.$$eval('#channels .name', (buttons) => buttons.find(({ textContent }) => textContent === 'news').click());
  await until('the messages are on the screen', () => page.evaluate(() => {
    const { top, bottom } = document.querySelector('#messages').getBoundingClientRect();
    return bottom > top && top >= 0 && top < innerHeight;
  }));
  assert.ok(await isFocused('#watch-title'));
});

for (const [width, kind] of [[1280, 'desktop'], [390, 'phone']]) {
  test(`everything to press has 24 px and more on a ${kind}`, async () => {
    await open({}, { width, height: 900 });
    await server.publish('news', '{"a":1}');
    await unlocked();
    await page.click('#watch-button');
    await until('all is there', async () => (await messages()).length === 1 && (await isShown('#clients tbody tr')));
    const small = await page.$$eval('button, a, input, textarea', (found) => found.filter((target) => target.checkVisibility()).map((target) => {
      const { width, height } = target.getBoundingClientRect();
      return [target.textContent || target.id, Math.round(width), Math.round(height)];
    }).filter(([, width, height]) => width < 24 || height < 24));
    assert.deepEqual(small, []);
  });
}

test('the two columns end together', async () => {
  await open();
  const ends = () => page.$$eval('.columns > .stack > :last-child:not([hidden]), .columns > .stack:last-child > :first-child', (cards) => cards.map((card) => Math.round(card.getBoundingClientRect().bottom)));
  const [left, right] = await ends();
  assert.ok(Math.abs(left - right) < 3, `they end at ${left} and ${right}`);
});

test('errors are in Portuguese on the Portuguese page, with what to do', async () => {
  const brazilian = await Browser.open(NAME, { language: 'pt-BR' });
  try {
    mayComplain = OF_THE_NETWORK;
    server = await Server.start({ MAX_MESSAGE_BYTES: '10' });
    page = await brazilian.page(server.url);
    await live();
    await type('#publish-text', 'oi');
    await press('#publish .main');
    await until('sem token', async () => /^Isto exige um token: digite-o em “Canais”\. Digitar o token$/.test(await text('#publish-result')));
    await unlock('errado');
    await until('token errado', async () => /^O servidor não conhece esse token/.test(await text('#token-problem')));
    await unlocked();
    assert.equal(await text('#publish-result'), '', 'the error went with its cause');
    await type('#publish-text', 'uma mensagem longa');
    await press('#publish .main');
    await until('longa demais', async () => /^A mensagem é maior/.test(await text('#publish-result')));
    await type('#watch-channel', 'com espaço');
    await page.keyboard.press('Enter');
    await until('nome', async () => /^“com espaço” não pode ser um canal/.test(await watchState()));
    await server.kill();
    await until('perdido', async () => /^Sem conexão há/.test(await text('#state-text')));
    await type('#publish-text', 'oi');
    await press('#publish .main');
    await until('inacessível', async () => /^O servidor está inacessível/.test(await text('#publish-result')));
    const english = await page.evaluate(() => document.body.innerText.match(/\b(the|server|token is|channel|type)\b/gi));
    assert.deepEqual(english?.filter((word) => word !== 'server') ?? [], []);
    await page.close();
  } finally {
    page = undefined;
    await brazilian.close();
  }
});
