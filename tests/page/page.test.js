// The statistics page in a real browser (BROWSER: chromium or firefox) against the real server, in one of its looks (LOOK). Called by
// tests/it/page.rs.

import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser } from './browser.js';
import { inFrontOf } from './front.js';
import { Redis } from './redis.js';
import { Server, TOKEN, until } from './server.js';

const NAME = process.env.BROWSER;
/** How the page is looked at: "desktop English light". */
const LOOK = process.env.LOOK.split(' ');
const [isPhone, isPortuguese, isDark] = ['phone', 'Portuguese', 'dark'].map((word) => LOOK.includes(word));
const SIZE = isPhone ? { width: 390, height: 844 } : { width: 1280, height: 900 };
const LANGUAGE = isPortuguese ? 'pt-BR' : 'en-US';
let browser;
let server;
let page;

/** What no look changes is tested in one. */
const once = isPhone || isPortuguese ? test.skip : test;
const onDesktops = isPhone ? test.skip : test;
const onPhones = isPhone ? test : test.skip;

/** What the page should say. */
const said = (english, portuguese) => (isPortuguese ? portuguese : english);

/** What a browser itself says about an answer that is an error, or that did not come: the tests below cause these. */
const OF_THE_NETWORK = /Failed to load resource|NetworkError|ERR_/;
let mayComplain = /(?!)/;

before(async () => { browser = await Browser.open(NAME, { dark: isDark }); });
after(() => browser?.close());

/** `size` is that of the look, unless another is given. */
async function open(variables, size) {
  server = await Server.start(variables);
  await visit(server.url, size);
  await live();
  return page;
}

async function visit(url, size = SIZE) {
  page = await browser.page(url, { language: LANGUAGE, ...size });
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

/** Where lines may not break is tested by itself. */
const text = (selector) => page.$eval(selector, (element) => element.textContent.replaceAll('\u00a0', ' '));
const attribute = (selector, name) => page.$eval(selector, (element, name) => element.getAttribute(name), name);
const state = () => attribute('html', 'data-state');
const figure = (series) => text(`.plot[data-series=${series}] .figure`);
const curve = (series) => attribute(`.plot[data-series=${series}] .curve`, 'd');
const live = () => until('the page is live', async () => (await state()) === 'live');
/** Remembers what it says, for what is over after some seconds: look at `window.told`. */
const remember = (selector) => page.$eval(selector, (element) => {
  window.told = [];
  new MutationObserver(() => window.told.push(element.textContent)).observe(element, { childList: true, characterData: true, subtree: true });
});
/** Of the server's samples: a busy machine may take one too late, and then the plots show a gap. */
const kept = async () => (await (await fetch(`${server.url}stats/history`)).json()).samples;
const isSteady = async () => (await kept()).every(({ timestamp }, at, all) => at === 0 || timestamp - all[at - 1].timestamp <= 2500);
const assertNoGap = async (series) => {
  if (await isSteady()) assert.match(await curve(series), /^M[\d. L]+h\.01$/, 'one line without a gap');
};
const number = (text) => Number(text.replace(/[^\d.]/g, ''));
const rows = () => page.$$eval('#channels tbody tr', (found) => found.map((row) => [...row.cells].map((cell) => cell.textContent)));
const items = () => page.$$eval('#messages li', (found) => found.map((item) => ({ text: item.querySelector('.text').textContent, about: item.querySelector('.small').textContent })));
const messages = async () => (await items()).map((item) => item.text);
const watchState = () => text('#watch-state');
const isFocused = (selector) => page.evaluate((selector) => document.activeElement.matches(selector), selector);
const isShown = (selector) => page.$eval(selector, (element) => element.checkVisibility());

const type = (selector, value) => page.fill(selector, value);

/** Presses a button wherever it is by then: what is above it may grow. */
const press = async (selector) => {
  await page.waitForSelector(selector);
  await page.$eval(selector, (button) => button.click());
};

async function unlock(token = TOKEN) {
  await type('#token', token);
  await page.press('#token', 'Enter');
}

async function unlocked() {
  await unlock();
  await until('the channels are listed', () => isShown('#listing'));
}

/** As if the disk were full, for files of so many bytes. */
const limitFiles = (bytes) => execFileSync('prlimit', ['--pid', `${server.child.pid}`, `--fsize=${bytes}:unlimited`]);

test('it says at once that the server lives, and what it is', async () => {
  await open();
  assert.equal(await text('#state-text'), said('Live', 'Ao vivo'));
  const { version } = await server.stats();
  assert.equal(await text('#version'), version);
  assert.equal(await figure('clients'), '0');
  assert.match(await text('#memory_bytes'), said(/^\d+(\.\d)? MB$/, /^\d+(,\d)? MB$/));
  assert.match(await text('#uptime_seconds'), said(/^\d+ sec$/, /^\d+ s$/));
  assert.equal(await attribute('html', 'lang'), said('en', 'pt-BR'));
  assert.equal(await text('#channels-title'), said('Channels', 'Canais'));
  const [background, ink] = await page.evaluate(() => {
    const style = getComputedStyle(document.body);
    return [style.backgroundColor, style.color].map((colour) => Math.max(...colour.match(/\d+/g).slice(0, 3)));
  });
  assert.ok(isDark ? background < 40 && ink > 200 : background > 200 && ink < 40, `${ink} on ${background}`);
  for (const [at, path] of ['openapi.json', 'metrics', 'stats'].entries()) {
    assert.equal(await page.$eval(`footer a:nth-child(${at + 1})`, (link) => link.href), server.url + path);
  }
});

once('numbers and plots follow the traffic', async () => {
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
  await assertNoGap('clients');
  assert.match(await page.title(), /^7 · sse-server$/);
  quiet();
  leave();
  await until('all is quiet again', async () => (await figure('clients')) === '0' && (await figure('delivered')) === '0 /s');
  const { messages_published: published } = await server.stats();
  await until('the total is that of /stats', async () => number(await text('#messages_published')) === published);
});

once('it tells when the server goes away and comes back, and plots no line over it', async () => {
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
  const drawn = await curve('clients');
  await page.evaluate(() => {
    const { now } = Date;
    Date.now = () => now() + 297_000;
    window.returnToNow = () => { Date.now = now; };
  });
  await until('what is older than five minutes is not drawn beside the plot', async () => (await curve('clients')) !== drawn && !(await curve('clients')).includes('-'));
  await page.evaluate(() => window.returnToNow());
  await remember('#state-text');
  await server.restart();
  await until('the page is back by itself', () => page.evaluate(() => window.told.some((text) => /^Back after (\d+ min ?)?(\d+ sec)?$/.test(text))));
  assert.notEqual(await figure('published'), '-30 /s');
  assert.match(await text('#announcement'), /is back/);
  await until('the figures are those of the new server', async () => (await text('#messages_published')) === '0');
  await until('rates are known again', async () => (await figure('published')) === '0 /s');
  await until('the plot has a gap', async () => (await curve('clients')).split('M').length >= 3);
  assert.ok(!(await curve('published')).includes('-'), 'no rate is negative');
  await until('it says Live again', async () => (await text('#state-text')) === 'Live');
});

once('a server that only keeps its sockets counts as lost', async () => {
  await open();
  server.freeze();
  try {
    await until('the silence is noticed', async () => (await state()) === 'lost');
  } finally {
    server.thaw();
  }
  await live();
});

once('a server that shuts down is waited for', async () => {
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
  await until('the page says that it is wrong', async () => said(/does not know/, /não conhece/).test(await text('#token-problem')));
  assert.ok(!(await isShown('#listing')));
  await unlock('não');
  await until('and of one that is none', async () => said(/does not know/, /não conhece/).test(await text('#token-problem')));
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

test('the table says which channel is busy, and sorts', async () => {
  await open();
  for (const [channel, messages] of [['calm', 1], ['full', 5], ['tower', 3]]) for (let i = 0; i < messages; i++) await server.publish(channel, 'x');
  const leave = await server.listen('tower', 3);
  const quiet = server.traffic('calm', 10);
  await unlocked();
  const order = async () => (await rows()).map(([name]) => name).join(' ');
  await until('the busy one is on top', async () => (await order()) === 'calm full tower' && parseFloat((await rows())[0][2]) > 1);
  assert.equal(await text('#active_channels'), said('3busiest: calm', '3mais movimentado: calm'));
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
  assert.match(full[5], /^(\d+ min ?)?(\d+ (sec|s))?$/, 'idle time');
  await page.click('#channels tbody tr:nth-child(3) button');
  await until('a click on a channel watches it', async () => (await watchState()).startsWith(said('Watching tower', 'Acompanhando tower')));
  assert.equal(await page.$eval('#publish-channel', (field) => field.value), 'tower');
  quiet();
  leave();
});

once('ten thousand channels do not freeze it', async () => {
  await open();
  const names = Array.from({ length: 10_000 }, (_, at) => `room-${at}`);
  const publishers = Array.from({ length: 8 }, async () => { while (names.length) await server.publish(names.pop(), 'x'); });
  await Promise.all(publishers);
  await unlocked();
  await until('the first hundred are shown', async () => (await rows()).length === 100 && (await text('#shown')) === '100 of 10,000');
  // A busy machine makes any page stand still now and then: this one may not do so at each of its figures, which come each second.
  await until('the page goes through some seconds without standing still', async () => {
    const [figures, longest] = await page.evaluate(() => new Promise((resolve) => {
      let [last, most, figures] = [performance.now(), 0, 0];
      const end = last + 2500;
      const observer = new MutationObserver(() => { figures += 1; });
      observer.observe(document.getElementById('uptime_seconds'), { childList: true, characterData: true, subtree: true });
      const tick = () => {
        const now = performance.now();
        [most, last] = [Math.max(most, now - last), now];
        if (now < end) return void setTimeout(tick);
        observer.disconnect();
        resolve([figures, most]);
      };
      tick();
    }));
    if (figures >= 2 && longest < 1000) return true;
    throw new Error(`it stood still for ${Math.round(longest)} ms, and showed figures ${figures} times`);
  });
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
  await until('without a token the server says why not', async () => said(/needs a token/, /exige um token/).test(await text('#publish-result')));
  await unlocked();
  await type('#publish-event', 'alert');
  await press('#publish .main');
  await until('the answer is shown', async () => said(/^Published as \d+-\d+; clients on this server: 2$/, /^Publicada como \d+-\d+; clientes neste servidor: 2$/).test(await text('#publish-result')));
  const { messages_published: published } = await server.stats();
  assert.equal(published, 1);
  await type('#publish-event', 'sse-mine');
  await page.focus('#publish-text');
  await page.keyboard.press('Control+Enter');
  await until('and a problem is, with what would be right', async () => said(/“sse-mine” cannot be an event name/, /“sse-mine” não pode ser um nome de evento/).test(await text('#publish-result')) && /bad/.test(await attribute('#publish-result', 'class')));
  leave();
});

test('a channel is watched live, and its messages are text', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await type('#watch-channel', 'news, alerts');
  await page.press('#watch-channel', 'Enter');
  await until('it listens', async () => (await server.stats()).connected_clients === 1);
  const hostile = '<img src=x onerror="document.title=\'hacked\'"><b>bold</b>';
  const { id } = await server.publish('alerts', hostile, '?event=door');
  await until('the message is there', async () => (await items()).length === 1);
  const [first] = await items();
  assert.equal(first.text, hostile);
  for (const part of ['alerts', 'door', id]) assert.ok(first.about.includes(part), `${part} is in ${first.about}`);
  assert.equal(await page.$('#messages img, #messages b'), null);
  assert.match(await page.title(), /sse-server$/);

  await press('#pause');
  for (let i = 0; i < 3; i++) await server.publish('news', `meanwhile ${i}`);
  await until('a pause counts', async () => (await watchState()) === said('Paused: 3 messages meanwhile', 'Pausado: 3 mensagens enquanto isso'));
  assert.equal((await items()).length, 1);
  await press('#pause');
  await until('and shows them afterwards, newest first', async () => (await items()).map((item) => item.text).slice(0, 3).join() === 'meanwhile 2,meanwhile 1,meanwhile 0');

  await server.restart();
  await until('a restart shows as a gap', async () => (await items()).some((item) => item.about.includes('newssse-gap')));
  for (let i = 0; i < 250; i++) await server.publish('news', `${i}`);
  await until('the list is capped', async () => (await items()).length === 200 && (await items())[0].text === '249');
  await press('#watch-button');
  await until('it stops', async () => (await server.stats()).connected_clients === 0);

  await type('#watch-channel', 'not a name');
  await page.press('#watch-channel', 'Enter');
  await until('a name that is none is said', async () => said(/“not a name” cannot be/, /“not a name” não pode ser/).test(await watchState()));
});

/** What a new shell makes of a line, until it ends or has written what was waited for: a stream has no end. */
const inShell = (line, awaited) => new Promise((resolve) => {
  const shell = spawn('sh', ['-c', line], { env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  let output = '';
  shell.stdout.on('data', (data) => {
    output += data;
    if (awaited && output.includes(awaited)) process.kill(-shell.pid);
  });
  shell.on('close', () => resolve(output));
});

const RULES = join(tmpdir(), `sse-server-page-${process.pid}-${NAME}.json`);
after(() => rm(RULES, { force: true }));

/** A server on which everything takes a token. */
async function openClosed(variables, size) {
  await writeFile(RULES, JSON.stringify({ tokens: [{ name: 'reader', token: 'reader-token-of-16-bytes', subscribe: ['*'], stats: true }] }));
  return open({ ACCESS_FILE: RULES, ...variables }, size);
}

const copied = async (selector) => {
  await page.evaluate((selector) => {
    navigator.clipboard.writeText = async (text) => { window.copied = text; };
    // The button says so for two seconds, which a busy machine may miss.
    window.labels = [];
    const button = document.querySelector(selector);
    new MutationObserver(() => window.labels.push(button.textContent)).observe(button, { childList: true, characterData: true, subtree: true });
  }, selector);
  await page.click(selector);
  await until('it says that it is copied', () => page.evaluate((label) => window.labels.includes(label), said('Copied', 'Copiado')));
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
  const line = await copied('[data-copy=watch-command]');
  const stream = inShell(line, 'by curl');
  await until('curl listens', async () => (await server.stats()).connected_clients === 1);
  await server.publish('b', 'by curl');
  assert.match(await stream, /^data: by curl$/m);
  await press('#publish .main');
  await until('dots are a name like another', async () => said(/^Published/, /^Publicada/).test(await text('#publish-result')));
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
  assert.match(await attribute('.plot .canvas', 'aria-valuetext'), /^\d+:\d\d:\d\d.*(0|no data|sem dados)$/);
  assert.equal(await attribute('.plot .canvas', 'aria-valuenow'), '-1');
  assert.match(await attribute('.plot[data-series=delivered] .cursor', 'd'), /^M/, 'all plots show that moment');
  await page.keyboard.press('Home');
  assert.match(await attribute('.plot .canvas', 'aria-valuetext'), said(/no data$/, /sem dados$/));
  await page.keyboard.press('Escape');
  assert.equal(await attribute('.plot .cursor', 'd'), '');
});

for (const width of [320, 360]) {
  onPhones(`nothing is wider than a screen of ${width} px, in any state`, async () => {
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
    await until('it is the busiest', async () => said(/busiest/, /mais movimentado/).test(await text('#active_channels')));
    await fits('with channels');
    await type('#watch-channel', long);
    await page.press('#watch-channel', 'Enter');
    await until('it is watched', async () => (await watchState()).startsWith(said('Watching W', 'Acompanhando W')));
    await server.publish(long, 'W'.repeat(3000), `?event=${'E'.repeat(60)}`);
    await until('the long message is there', async () => (await items()).some((item) => item.text.startsWith('WWWW')));
    await type('#publish-channel', long);
    await press('#publish .main');
    await type('#publish-text', 'x');
    await press('#publish .main');
    await until('the answer is there', async () => said(/^Published/, /^Publicada/).test(await text('#publish-result')));
    await fits('while it watches');
    quiet();
    await server.kill();
    await until('it is lost', async () => (await state()) === 'lost');
    await fits('while it is lost');
  });
}

test('assistive technology finds nothing to complain about, in any state', async () => {
  mayComplain = OF_THE_NETWORK;
  const axe = await readFile(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
  const folder = await mkdtemp(join(tmpdir(), 'sse-server-page-'));
  const redis = await Redis.start();
  const member = await Server.start({ REDIS_URL: redis.url });
  const go = async ({ url }) => {
    await visit(url);
    await page.evaluate(axe);
  };
  const isFine = async (when) => {
    const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } }));
    const violations = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`);
    assert.ok(found.passes.length > 20, 'it looked');
    assert.deepEqual(violations, [], when);
  };
  const watch = async (channel) => {
    await type('#watch-channel', channel);
    await page.press('#watch-channel', 'Enter');
  };
  try {
    await go(member);
    await until('the cluster is shown', () => isShown('#servers tbody tr'));
    await isFine('with several servers');
    await redis.kill();
    await until('Redis is away', () => isShown('#away'));
    await isFine('without Redis');
    await page.close();

    server = await Server.start({ MAX_CLIENTS: '4' });
    await go(server);
    await live();
    await isFine('at first');
    await unlock('wrong');
    await until('the token is wrong', async () => (await text('#token-problem')) !== '');
    await isFine('with a wrong token');
    const leave = await server.listen('a-channel', 2);
    await unlocked();
    await watch('news');
    await until('it listens', async () => (await server.stats()).connected_clients === 3);
    await isFine('with nothing yet');
    await server.publish('news', '{"door": [1]}', '?event=alert');
    await until('the message is there', async () => (await items()).length === 1);
    // At first the list may be that of before.
    await until('the client is listed', async () => (await page.$$('#clients tbody tr')).length === 1 && /news/.test(await text('#clients-title')));
    await type('#publish-text', 'x');
    await press('#publish .main');
    await until('the answer is there', async () => /^Publi(shed|cada)/.test(await text('#publish-result')));
    await press('#messages li:last-child button');
    await page.focus('.plot .canvas');
    await page.keyboard.press('ArrowLeft');
    await isFine('in full use');
    await press('#pause');
    await type('#filter', 'nothing like it');
    await until('nothing is found', () => isShown('#none'));
    await isFine('paused, and with nothing found');
    page.on('dialog', (dialog) => dialog.accept());
    await page.click('#clients tbody button');
    await until('the stream was ended', async () => (await attribute('#watch-state', 'class')) === 'bad');
    await type('#publish-event', 'sse-x');
    await press('#publish .main');
    await until('the refusal is there', async () => /sse-x/.test(await text('#publish-result')));
    await isFine('ended, and with a refusal');
    await watch('no name');
    await until('the refusal is there', async () => /no name/.test(await watchState()));
    await isFine('with a name that is none');
    await watch('news');
    // Without an id of an event there is no gap.
    await until('it has what is retained', async () => (await items()).length === 2);
    leave();
    await server.kill();
    await until('it is lost', async () => (await state()) === 'lost');
    await isFine('while it is lost');
    await server.restart({ DATA_DIR: folder });
    await until('a gap is told', async () => (await items()).some(({ about }) => about.includes('sse-gap')));
    await isFine('with a gap');
    limitFiles(1 << 20);
    await until('a message is refused', () => server.publish('other', 'x'.repeat(60_000)).then(() => false, () => true));
    await until('the disk fails', () => isShown('#away'));
    await isFine('with a disk that fails');
  } finally {
    await member.close();
    await redis.kill();
    await rm(folder, { recursive: true, force: true });
  }
});

once('its policy lets no other script run and no other server be asked', async () => {
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
    await visit(server.url);
    await live();
    const cells = () => page.$$eval('#servers tr', (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
    await until('both servers and their clients are shown', async () => (await cells()).at(-1)?.[1] === '3');
    assert.ok(await isShown('#cluster') && await isShown('#now'));
    const found = await cells();
    assert.equal(found.length, 4, 'heads, two servers, and the sum');
    const port = ({ address }) => `:${address.split(':')[1]}-`;
    assert.ok(found[1][0].includes(port(other)) && found[1][1] === '2', `the one with most clients first: ${found[1]}`);
    assert.ok(found[2][0].includes(port(server)) && found[2][1] === '1', `then the other: ${found[2]}`);
    assert.equal(found[3][0], 'Total');
    assert.ok(!(await isShown('#away')));
    await redis.kill();
    await until('Redis is away', () => isShown('#away'));
    assert.ok(streams.every(({ ok }) => ok));
  } finally {
    leaving.abort();
    await other.close();
    await redis.kill();
  }
});

once('another server that answers in its place is no burst of messages', async () => {
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
    await until('they are known again', async () => (await figure('published')) === '0 /s');
  } finally {
    front.close();
    await older.close();
  }
});

once('numbers are written the Brazilian way for Brazilians', async () => {
  await open({}, { language: 'pt-BR' });
  for (let i = 0; i < 1234; i++) await server.publish('news', 'x');
  await until('a point is between the thousands', async () => (await text('#messages_published')) === '1.234');
});

once('every text is there in both languages', async () => {
  const source = await readFile(new URL('../../assets/index.html', import.meta.url), 'utf8');
  const [html, script] = source.split('<script type="module">');
  const texts = [...script.matchAll(/\bt\('((?:\\'|[^'])+)'(, '((?:\\'|[^'])+)')?/g)];
  assert.ok(texts.length > 60, `${texts.length} texts`);
  assert.deepEqual(texts.filter(([, , , portuguese]) => !portuguese).map(([, english]) => english), []);
  const bare = [...html.replace(/<style>.*<\/style>/s, '').matchAll(/<(h2|label|button|dt|p|a|span)\b([^>]*)>([^<]+)</g)].filter(([, , attributes, content]) => content.trim() && !attributes.includes('data-pt='));
  // What it says to those without scripts is in English alone.
  assert.deepEqual(bare.map(([, , , content]) => content).filter((content) => !/JavaScript|^stats$|^metrics$/.test(content)), []);
});

once('it is one file of less than 60 KB', async () => {
  const source = await readFile(new URL('../../assets/index.html', import.meta.url));
  assert.ok(source.length < 60_000, `${source.length} bytes`);
});


test('the plots show what was before the page, and go on where it was away', async () => {
  server = await Server.start();
  const quiet = server.traffic('news', 20);
  await until('there is something to show', async () => (await kept()).length >= 5);
  await visit(server.url);
  // However long it takes on a busy machine: with what only the page has seen, all of these are never there.
  const isWhole = async (series) => {
    const { length } = await kept();
    return (await curve(series)).split('L').length >= length - 3;
  };
  for (const series of ['clients', 'published']) await until(`all ${series} are there`, () => isWhole(series));
  await page.reload();
  for (const series of ['clients', 'published']) {
    await until(`all ${series} are there after a reload as well`, () => isWhole(series));
    await assertNoGap(series);
  }
  quiet();
});

test('a history that comes late leaves no gap in the plots', async () => {
  server = await Server.start();
  const quiet = server.traffic('news', 20);
  const front = await inFrontOf(server);
  // Its end comes before the page's.
  mayComplain = OF_THE_NETWORK;
  try {
    await until('there is something to show', async () => (await kept()).length >= 3);
    let arrive;
    front.held = ['/stats/history', new Promise((resolve) => { arrive = resolve; })];
    await visit(front.url);
    const { length } = await kept();
    await until('some snapshots are here before it', async () => (await kept()).length >= length + 5);
    arrive();
    await live();
    for (const series of ['clients', 'published']) {
      await until(`all ${series} are there`, async () => (await curve(series)).split('L').length >= length + 5);
      await assertNoGap(series);
    }
    // Each is to the right of the one before.
    const places = (await curve('clients')).slice(1).split(/[LM]/).map(parseFloat);
    assert.deepEqual(places, places.toSorted((a, b) => a - b));
    quiet();
  } finally {
    front.close();
  }
});

test('watching begins with what is retained, and the address keeps it', async () => {
  await open();
  for (const channel of ['news', 'são paulo'.replace(' ', '-')]) await server.publish(channel, `in ${channel}`);
  assert.match(await text('#watch-empty'), said(/Messages appear here/, /As mensagens aparecem aqui/));
  await press('#watch-button');
  await until('what is retained is there', async () => (await messages()).join() === 'in news');
  assert.equal(page.url(), `${server.url}#news`);
  await type('#watch-channel', 'news,são-paulo');
  assert.equal(await text('#watch-button'), said('Watch', 'Acompanhar'), 'the field has another channel');
  await page.keyboard.press('Enter');
  await until('both are there', async () => (await messages()).join() === 'in são-paulo,in news');
  assert.equal(await text('#watch-button'), said('Stop', 'Parar'));
  await page.reload();
  await until('a reload keeps what was watched', async () => (await messages()).length === 2);
  assert.equal(await page.$eval('#watch-channel', (field) => field.value), 'news,são-paulo');
  await press('#watch-button');
  await until('it stops', async () => (await server.stats()).connected_clients === 0);
  assert.equal(page.url(), server.url);
  await page.evaluate(() => { location.hash = '#quiet'; });
  await until('a link is followed', async () => (await watchState()).startsWith(said('Watching quiet', 'Acompanhando quiet')));
  assert.match(await text('#watch-empty'), said(/No message yet/, /Nenhuma mensagem ainda/));
  await page.evaluate(() => { location.hash = '#%ff'; });
  await live();
});

test('a watch that ends says why, and comes back with the right token', async () => {
  await openClosed();
  mayComplain = OF_THE_NETWORK;
  await server.publish('news', 'before');
  await press('#watch-button');
  await until('it says what is missing', async () => said(/^This needs a token/, /^Isto exige um token/).test(await watchState()));
  assert.equal(await text('#watch-button'), said('Watch', 'Acompanhar'), 'it has ended');
  await page.click('#watch-state button');
  assert.ok(await isFocused('#token'), 'a way to the field is beside it');
  await unlocked();
  await until('the right token revives it', async () => (await messages()).join() === 'before');
  assert.equal(await text('#watch-button'), said('Stop', 'Parar'));
  await server.publish('news', 'after');
  await until('it is live', async () => (await messages())[0] === 'after');
});

test('a watch that a restart with another token ends is revived by that one', async () => {
  await openClosed();
  mayComplain = OF_THE_NETWORK;
  await unlocked();
  await press('#watch-button');
  await until('it watches', async () => (await watchState()).startsWith(said('Watching', 'Acompanhando')));
  await server.restart({ AUTH_TOKEN: 'another-token-of-16-bytes' });
  await until('it says what is missing', async () => said(/^This needs a token/, /^Isto exige um token/).test(await watchState()));
  assert.equal(await text('#watch-button'), said('Watch', 'Acompanhar'), 'it has ended');
  await unlock('another-token-of-16-bytes');
  await until('it watches again', async () => (await watchState()).startsWith(said('Watching', 'Acompanhando')));
  await page.click('#forget');
  await until('it has ended with the token', async () => (await text('#watch-button')) === said('Watch', 'Acompanhar'));
  await press('#watch-button');
  await until('the button says again what is missing', async () => said(/^This needs a token/, /^Isto exige um token/).test(await watchState()));
});

test('what is empty says what to do', async () => {
  await open();
  assert.match(await text('#watch-empty'), said(/^Messages appear here: name a channel and press “Watch”/, /^As mensagens aparecem aqui: digite um canal e clique em “Acompanhar”/));
  assert.match(await text('#unlock'), said(/With the server's token/, /Com o token do servidor/));
  await unlocked();
  assert.match(await text('#none'), said(/^There are no channels yet. One appears with/, /^Ainda não há canais. Um canal surge com/));
  await until('nobody is connected', () => isShown('#clients-none'));
  assert.equal(await text('#clients-none'), said('Nobody is connected.', 'Ninguém está conectado.'));
  await server.publish('news', 'x');
  await until('the channel is listed', async () => (await rows()).length === 1);
  await type('#filter', 'nothing like it');
  await until('nothing is found', async () => said(/^No channel has this/, /^Nenhum canal tem isso/).test(await text('#none')));
  await page.$eval('#watch-channel', (field) => { field.value = 'quiet'; });
  await press('#watch-button');
  await until('it watches', async () => said(/^No message yet. Publish one here/, /^Nenhuma mensagem ainda. Publique uma aqui/).test(await text('#watch-empty')));
});

test('after a restart with another token it waits for that one', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await unlocked();
  await press('#watch-button');
  await until('it watches', async () => (await watchState()).startsWith(said('Watching', 'Acompanhando')));
  await server.restart({ AUTH_TOKEN: 'another-token-of-16-bytes' });
  await until('the token is forgotten', () => isShown('#unlock'));
  await until('it says so', async () => said(/no longer/, /não aceita mais/).test(await text('#token-problem')));
  await until('the channel is public, so it goes on', async () => (await watchState()).startsWith(said('Watching news', 'Acompanhando news')));
  await unlock('another-token-of-16-bytes');
  await until('the channels are listed', () => isShown('#listing'));
  assert.equal(await text('#token-problem'), '', 'the error went with its cause');
});

test('after a restart the watch is back with the header', async () => {
  await open();
  mayComplain = OF_THE_NETWORK;
  await press('#watch-button');
  await until('it watches', async () => (await watchState()).startsWith(said('Watching', 'Acompanhando')));
  // From now on no pause of the page ends by itself.
  await page.evaluate(() => {
    const { setTimeout } = window;
    window.setTimeout = (act, ms) => (ms > 300 ? undefined : setTimeout(act, ms));
  });
  await server.kill();
  await until('both are lost', async () => (await state()) === 'lost' && said(/reconnecting/, /reconectando/).test(await watchState()));
  await server.restart();
  // The network's return ends the pause of the header.
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await live();
  await until('the header ends the pause of the watch', async () => (await watchState()).startsWith(said('Watching', 'Acompanhando')));
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
  assert.equal(await text('#clients-title'), said('All clients', 'Todos os clientes'));
  await until('the channel is there', async () => (await rows()).some(([name]) => name === 'tower'));
  await page.$$eval('#channels .name', (buttons) => buttons.find(({ textContent }) => textContent === 'tower').click());
  await until('those of the channel, with the page itself', async () => (await text('#clients-title')) === said('Clients of tower', 'Clientes de tower') && (await clients()).length === 3);
  const own = (await clients()).find((name) => name.includes('AUTH_TOKEN'));
  assert.match(own, /^127\.0\.0\.1:\d+AUTH_TOKEN$/);
  const questions = [];
  page.on('dialog', (dialog) => { questions.push(dialog.message()); dialog.accept(); });
  await page.$$eval('#clients tbody tr', (rows) => rows.find((row) => row.textContent.includes('AUTH_TOKEN')).querySelector('button').click());
  await until('the page says that its own stream was ended', async () => said(/^An operator has ended this stream/, /^Um operador encerrou este stream/).test(await watchState()));
  assert.match(questions[0], said(/^End the stream of 127/, /^Encerrar o stream de 127/));
  await until('it is out of the list', async () => (await clients()).length === 2);
  await press('#watch-button');
  await until('the button opens it again', async () => (await watchState()).startsWith(said('Watching tower', 'Acompanhando tower')));
  await page.click('#forget');
  await until('the list of clients went with the token', async () => !(await isShown('#clients-card')));
});

test('how far each client is behind is told, and the farthest comes first', async () => {
  await open();
  await server.listen('calm', 1);
  const slow = await server.stall('tower');
  await unlocked();
  const clients = async () => (await (await fetch(`${server.url}clients`, { headers: { Authorization: `Bearer ${TOKEN}` } })).json()).clients;
  const lagging = async () => (await clients()).find(({ address }) => address.endsWith(`:${slow.localPort}`));
  const large = 'x'.repeat(60_000);
  let published = 0;
  await until('it is behind', async () => {
    await server.publish('tower', large);
    published += 1;
    return (await lagging()).lag >= 7;
  });
  // Its sockets' buffers have the others.
  const { lag, messages } = await lagging();
  assert.equal(messages + lag, published);
  const shown = () => page.$$eval('#clients tbody tr', (rows) => rows.map(({ cells }) => [cells[0].firstChild.textContent, cells[2].textContent, cells[3].textContent]));
  await until('both are listed', async () => (await shown())[0]?.[2] === `${lag}`);
  assert.deepEqual(await shown(), [[`127.0.0.1:${slow.localPort}`, `${messages}`, `${lag}`], [(await clients()).find((client) => client.lag === 0).address, '0', '0']]);
  slow.resume();
  await until('it has come up', async () => (await lagging()).messages === published);
  await until('it is no longer behind', async () => (await shown()).every(([, , behind]) => behind === '0'));
});

test('a message is formatted, copied and downloaded', async () => {
  await open();
  await server.publish('news', '{"door":{"open":true}}', '?event=alert');
  await server.publish('news', '{not json');
  await press('#watch-button');
  await until('both are there', async () => (await messages()).length === 2);
  const buttons = () => page.$$eval('#messages li', (found) => found.map((item) => [...item.querySelectorAll('button')].map(({ textContent }) => textContent).join()));
  assert.deepEqual(await buttons(), said(['Copy', 'Format,Copy'], ['Copiar', 'Formatar,Copiar']));
  await press('#messages li:last-child button');
  assert.equal((await messages())[1], '{\n  "door": {\n    "open": true\n  }\n}');
  assert.equal(await copied('#messages li:last-child button:last-child'), '{"door":{"open":true}}', 'as it came');
  await press('#messages li:last-child button');
  assert.equal((await messages())[1], '{"door":{"open":true}}');
  const long = '[no JSON '.repeat(200);
  await server.publish('news', long);
  await until('the long one is there, in short', async () => (await messages())[0].endsWith(said('… (1,800 characters)', '… (1.800 caracteres)')));
  assert.ok((await messages())[0].length < 600);
  assert.equal((await buttons())[0], said('Show all,Copy', 'Mostrar tudo,Copiar'));
  await press('#messages li:first-child button');
  assert.equal((await messages())[0], long);
  assert.equal((await buttons())[0], said('Show less,Copy', 'Mostrar menos,Copiar'));
  await press('#messages li:first-child button');
  assert.ok((await messages())[0].length < 600);
  assert.equal(await copied('#messages li:first-child button:last-child'), long, 'all of it');
  await page.evaluate(() => {
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return make(blob); };
    HTMLAnchorElement.prototype.click = function click() { window.savedAs = this.download; };
  });
  await page.click('#download');
  const saved = await until('it is saved', () => page.evaluate(() => window.saved));
  assert.equal(await page.evaluate(() => window.savedAs), 'news.ndjson');
  const [first, second, third] = saved.trimEnd().split('\n').map(JSON.parse);
  assert.deepEqual([first.canal, first.event, first.mensagem], ['news', 'alert', '{"door":{"open":true}}']);
  assert.equal(second.mensagem, '{not json');
  assert.match(second.id, /^\d+-\d+$/);
  assert.equal(third.mensagem, long);
});

test('operators see limits, delays and refusals', async () => {
  await open({ MAX_CLIENTS: '5' });
  mayComplain = OF_THE_NETWORK;
  await server.listen('news', 5);
  // All along: the delays are those of the last minute.
  server.traffic('news', 2);
  await press('#watch-button');
  await until('the watch says that the server is full', async () => said(/^The server is at a limit/, /^O servidor está no limite/).test(await watchState()));
  await until('the limit is full', async () => (await text('#clients_in_use')) === said('5of 5', '5de 5'));
  assert.ok(await page.$('#clients_in_use .nearly-full'));
  await until('a refusal is counted', async () => /^\d+503: \d+$/.test(await text('#refused')));
  await until('the delay is measured', async () => said(/^[\d.,]+ ms99 in 100: [\d.,]+ ms$/, /^[\d.,]+ ms99 em 100: [\d.,]+ ms$/).test(await text('#delay')));
  assert.equal(await text('#watch-button'), said('Stop', 'Parar'), 'it goes on trying');
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
  // On a phone what was chosen comes to the reader, and the focus with it.
  assert.ok(await isFocused(isPhone ? '#watch-title' : '#channels button'), 'the focus went with its row');
  if (!isPhone) assert.equal(await page.evaluate(() => document.activeElement.textContent), 'a');
  quiet();
  await page.click('#forget');
  assert.ok(await isFocused('#token'), 'after it is forgotten');
});

onPhones('on a phone a tap on a channel shows it, and nothing is cut off', async () => {
  await open();
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
  assert.deepEqual(labels, said(['Clients', 'Messages/s', 'Messages', 'History', 'Idle'], ['Clientes', 'Mensagens/s', 'Mensagens', 'Histórico', 'Parado há']));
  assert.ok(table[0] <= table[1], `the table is ${table[0]} px wide in ${table[1]} px`);
  await page.$$eval('#channels .name', (buttons) => buttons.find(({ textContent }) => textContent === 'news').click());
  await until('the messages are on the screen', () => page.evaluate(() => {
    const { top, bottom } = document.querySelector('#messages').getBoundingClientRect();
    return bottom > top && top >= 0 && top < innerHeight;
  }));
  assert.ok(await isFocused('#watch-title'));
});

test('everything to press has 24 px and more, and the heads of the tables do not collide', async () => {
  await open();
  await server.publish('news', '{"a":1}');
  await unlocked();
  await press('#watch-button');
  await until('all is there', async () => (await messages()).length === 1 && (await isShown('#clients tbody tr')));
  const small = await page.$$eval('button, a, input, textarea', (found) => found.filter((target) => target.checkVisibility()).map((target) => {
    const { width, height } = target.getBoundingClientRect();
    return [target.textContent || target.id, Math.round(width), Math.round(height)];
  }).filter(([, width, height]) => width < 24 || height < 24));
  assert.deepEqual(small, []);
  for (const width of isPhone ? [320, 360, SIZE.width] : [761, 1024, 1279, SIZE.width]) {
    await page.setViewportSize({ ...SIZE, width });
    // Also with the longest times.
    const wide = await page.$$eval('table', (found, longest) => found.filter((table) => table.checkVisibility()).map((table) => {
      for (const { cells } of table.tBodies[0].rows) cells[table.id === 'channels' ? 5 : 1].textContent = longest;
      const { scrollWidth, clientWidth } = table.parentElement;
      return [table.id, scrollWidth - clientWidth];
    }).filter(([, more]) => more > 0), said('59 min 59 sec', '59 min 59 s'));
    assert.deepEqual(wide, [], `no table is wider than its place at ${width} px`);
  }
  // The arrow that tells the order stands in 12 px behind the text.
  const heads = await page.$$eval('#channels th button', (found) => found.map((head) => {
    const { left, right, top } = head.getBoundingClientRect();
    return [head.textContent, left, right + 12, top];
  }));
  for (const [at, [name, , right, top]] of heads.entries()) {
    const next = heads[at + 1];
    if (next?.[3] === top) assert.ok(right + 4 <= next[1], `${name} ends at ${right}, ${next[0]} begins at ${next[1]}`);
  }
});

test('a number is never alone on its line', async () => {
  await open();
  await server.listen('news', 10);
  await unlocked();
  await type('#publish-text', 'x');
  await press('#publish .main');
  await until('the answer is there', async () => /10$/.test(await text('#publish-result')));
  const { height } = SIZE;
  let lines = 0;
  for (let width = isPhone ? 320 : 640; width < (isPhone ? 460 : 1400); width += isPhone ? 5 : 20) {
    await page.setViewportSize({ width, height });
    const [word, last] = await page.$eval('#publish-result', ({ firstChild }) => {
      const top = (at) => {
        const range = new Range();
        range.setStart(firstChild, firstChild.length - at);
        range.setEnd(firstChild, firstChild.length - at + 1);
        return range.getBoundingClientRect().top;
      };
      return [top(4), top(1)];
    });
    assert.equal(word, last, `the number is alone at ${width} px`);
    lines = Math.max(lines, await page.$eval('#publish-result', (result) => result.getClientRects()[0].height));
  }
  if (isPhone) assert.ok(lines > 30, 'it had to wrap');
});

onDesktops('the two columns end together', async () => {
  await open();
  const ends = () => page.$$eval('.columns > .stack > :last-child:not([hidden]), .columns > .stack:last-child > :first-child', (cards) => cards.map((card) => Math.round(card.getBoundingClientRect().bottom)));
  const [left, right] = await ends();
  assert.ok(Math.abs(left - right) < 3, `they end at ${left} and ${right}`);
});

test('errors are in the language of the page, with what to do', async () => {
  mayComplain = OF_THE_NETWORK;
  await open({ MAX_MESSAGE_BYTES: '10' });
  await type('#publish-text', 'oi');
  await press('#publish .main');
  await until('there is no token', async () => said(/^This needs a token: type it in under “Channels”\. Type the token$/, /^Isto exige um token: digite-o em “Canais”\. Digitar o token$/).test(await text('#publish-result')));
  await unlock('wrong');
  await until('the token is wrong', async () => said(/^The server does not know this token/, /^O servidor não conhece esse token/).test(await text('#token-problem')));
  await unlocked();
  assert.equal(await text('#publish-result'), '', 'the error went with its cause');
  await type('#publish-text', 'a long message');
  await press('#publish .main');
  await until('it is too long', async () => said(/^The message is larger/, /^A mensagem é maior/).test(await text('#publish-result')));
  await type('#watch-channel', 'a space');
  await page.press('#watch-channel', 'Enter');
  await until('the name is wrong', async () => said(/^“a space” cannot be a channel/, /^“a space” não pode ser um canal/).test(await watchState()));
  for (const [field, channel, named] of [['watch', 'news,a b', 'a b'], ['watch', ', ,', ', ,'], ['watch', 'a*b', 'a*b'], ['watch', 'x'.repeat(200), 'xxx'],
    ['publish', 'a,b', 'a,b'], ['publish', 'x*', 'x*'], ['publish', 'a/b', 'a/b'], ['publish', ',', ',']]) {
    const outcome = { watch: '#watch-state', publish: '#publish-result' }[field];
    await type(`#${field}-channel`, channel);
    await type('#publish-text', 'oi');
    await press(`#${field} .main`);
    await until(`${channel} is wrong`, async () => (await text(outcome)).startsWith(`“${named}`) && (await text(outcome)).includes(said('” cannot be a channel', '” não pode ser um canal')));
  }
  await type('#publish-channel', 'news');
  await server.kill();
  await until('it is lost', async () => said(/^Lost for/, /^Sem conexão há/).test(await text('#state-text')));
  await type('#publish-text', 'oi');
  await press('#publish .main');
  await until('it is not reached', async () => said(/^The server cannot be reached/, /^O servidor está inacessível/).test(await text('#publish-result')));
  const english = await page.evaluate(() => document.body.innerText.match(/\b(the|token is|channel|type)\b/gi));
  assert.deepEqual(english ?? [], said(english, []));
  await server.restart();
  await until('the error went with its cause', async () => (await text('#publish-result')) === '');
});

test('whoever asks for too much, or a proxy that has no server, is told so in the language of the page', async () => {
  mayComplain = OF_THE_NETWORK;
  // The page's figures are a stream as well.
  await openClosed({ MAX_CLIENTS_PER_ADDRESS: '2' });
  await page.close();
  const front = await inFrontOf(server);
  const leaving = new AbortController();
  const reader = 'reader-token-of-16-bytes';
  const stream = await fetch(`${server.url}sse/news`, { headers: { Authorization: `Bearer ${reader}` }, signal: leaving.signal });
  try {
    await visit(front.url);
    await live();
    await unlock(reader);
    await until('the channels are listed', () => isShown('#listing'));
    await live();
    await press('#watch-button');
    await until('it has a stream already', async () => said(/^Your address has as many streams/, /^Seu endereço já tem o máximo/).test(await watchState()));
    leaving.abort();
    await until('and gets one when there is room', async () => (await watchState()).startsWith(said('Watching', 'Acompanhando')));
    assert.ok(stream.ok);
    await type('#publish-text', 'oi');
    await press('#publish .main');
    await until('it may not publish', async () => said(/^The token is right, but not for this/, /^O token está certo, mas não vale para isto/).test(await text('#publish-result')));
    front.status = 502;
    await press('#publish .main');
    await until('the server is not reached', async () => said(/^The server cannot be reached/, /^O servidor está inacessível/).test(await text('#publish-result')));
  } finally {
    leaving.abort();
    front.close();
  }
});

test('the disk is shown, and that it takes nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sse-server-page-'));
  try {
    await open();
    assert.ok(!(await isShown('#disk')), 'not without DATA_DIR');
    await page.close();
    await server.close();
    await open({ DATA_DIR: folder, SYNC: '2s' });
    mayComplain = OF_THE_NETWORK;
    await until('its size and its setting are there', async () => said(/^\d[\d,.]* (kB|MB)SYNC=2s · never failed$/, /^\d[\d,.]* (kB|MB)SYNC=2s · nunca falhou$/).test(await text('#disk')));
    assert.ok(!(await isShown('#away')));
    limitFiles(1 << 20);
    const large = 'x'.repeat(60_000);
    await until('a message is refused', () => server.publish('news', large).then(() => false, () => true));
    await until('it says so', async () => (await isShown('#away')) && said(/^The disk takes no writes/, /^O disco não aceita gravações/).test(await text('#away')));
    await until('and why', async () => said(/ · faults: [1-9]\d*, the last: .*[a-z]/, / · falhas: [1-9]\d*, a última: .*[a-z]/).test(await text('#disk')));
    await unlocked();
    await type('#publish-text', 'x');
    await press('#publish .main');
    await until('publishing says it too', async () => said(/Redis or disk/, /Redis ou o disco/).test(await text('#publish-result')));
    limitFiles('unlimited');
    await until('it is over', async () => !(await isShown('#away')));
    assert.match(await text('#disk'), /1/, 'the fault is still told');
  } finally {
    await server?.kill();
    await rm(folder, { recursive: true, force: true });
  }
});
