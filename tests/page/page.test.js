// The statistics page in a real browser (BROWSER: chromium or firefox) against the real server. Called by tests/it/page.rs.

import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
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
  await until('the page says that it is wrong', async () => /wrong/.test(await text('#token-problem')));
  assert.ok(!(await isShown('#listing')));
  await unlock('não');
  await until('and of one that is none', async () => /wrong/.test(await text('#token-problem')));
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
  await page.click('#publish button');
  await until('without a token the server says why not', async () => /a token is needed/.test(await text('#publish-result')));
  await unlocked();
  await type('#publish-event', 'alert');
  await page.click('#publish button');
  await until('the answer is shown', async () => /^Published as \d+-\d+; clients on this server: 2$/.test(await text('#publish-result')));
  const { messages_published: published } = await server.stats();
  assert.equal(published, 1);
  await type('#publish-event', 'sse-mine');
  await page.focus('#publish-text');
  await page.keyboard.down('Control');
  await page.keyboard.press('Enter');
  await page.keyboard.up('Control');
  await until('and a problem is, in the words of the server', async () => /sse-/.test(await text('#publish-result')) && /bad/.test(await attribute('#publish-result', 'class')));
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
  await until('a pause counts', async () => (await text('#watch-state')) === 'Paused, 3 received meanwhile');
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

test('curl commands are ready to copy, for any name, without the token', async () => {
  await open();
  await unlocked();
  await type('#watch-channel', "joe's room?,b");
  assert.equal(await text('#watch-command'), `curl -N '${server.url}sse/joe%27s%20room%3F,b'`);
  await type('#publish-channel', '..');
  await type('#publish-text', "it's");
  assert.equal(await text('#publish-command'), `curl -H "Authorization: Bearer $AUTH_TOKEN" --data-raw 'it'\\''s' '${server.url}publish?canal=..'`);
  assert.ok(!(await page.content()).includes(TOKEN), 'the token is nowhere in the page');
  await page.click('#publish button[class]');
  await until('dots are a name like another', async () => /^Published/.test(await text('#publish-result')));
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
    await page.click('#publish button');
    await type('#publish-text', 'x');
    await page.click('#publish button');
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
  for (const dark of [false, true]) {
    const own = await Browser.open(NAME, { dark });
    try {
      server = await Server.start();
      page = await own.page(server.url);
      await page.evaluate(axe);
      const isFine = async (when) => {
        const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
        const violations = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`);
        assert.ok(found.passes.length > 20, 'it looked');
        assert.deepEqual(violations, [], `${when}, ${dark ? 'dark' : 'light'}`);
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
      await server.publish('news', 'hello', '?event=alert');
      await until('the message is there', async () => (await items()).length === 1);
      await type('#publish-text', 'x');
      await page.click('#publish button');
      await until('the answer is there', async () => /^Published/.test(await text('#publish-result')));
      await isFine('in full use');
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
    await until('the other one answers', async () => (await text('#messages_published')) === '300');
    await until('rates are known again', async () => (await figure('published')) === '0 /s');
    assert.equal(await text('.plot[data-series=published] .readout'), 'highest 0/s');
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

test('every text has a translation, and every translation a text', async () => {
  const source = await readFile(new URL('../../assets/index.html', import.meta.url), 'utf8');
  const [, table] = /const PORTUGUESE = \{\n(.*?)\n\};/s.exec(source);
  const keys = [...table.matchAll(/^ {2}'((?:\\'|[^'])*)': '/gm)].map(([, key]) => key.replaceAll("\\'", "'"));
  const rest = source.replace(table, '');
  const used = new Set();
  for (const [, key] of rest.matchAll(/ data-t(?: hidden)?>([^<]+)</g)) used.add(key);
  for (const [, key] of rest.matchAll(/\bt\('([^']+)'/g)) used.add(key);
  for (const [, key] of rest.matchAll(/state(?: =|:) (?:.* : )?'([^']+…)'/g)) used.add(key);
  assert.deepEqual([...used].filter((key) => !keys.includes(key)), [], 'not translated');
  assert.deepEqual(keys.filter((key) => !used.has(key)), [], 'not used');
});
