// Pictures of every state of the page, light and dark, desktop and phone, in both languages, into the folder that is named.
// Called by `make screenshots`.

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser } from './browser.js';
import { Redis } from './redis.js';
import { Server, TOKEN, until } from './server.js';

const [folder] = process.argv.slice(2);
/** Seconds of traffic before the pictures: something to plot. */
const SECONDS = Number(process.env.SECONDS ?? 60);

/** Each look of the page: its window, its language and its colours. */
const LOOKS = [
  { name: 'desktop-light', language: 'en-US', width: 1280, height: 900 },
  { name: 'desktop-dark', language: 'pt-BR', dark: true, width: 1280, height: 900 },
  { name: 'phone-light', language: 'pt-BR', width: 390, height: 844, scale: 2 },
  { name: 'phone-dark', language: 'en-US', dark: true, width: 390, height: 844, scale: 2 },
];

/** A small newsroom: channels of different sizes, and a few bursts. */
async function traffic(server) {
  const crowds = { news: 40, alerts: 25, 'são-paulo': 18, weather: 12, 'sensor-7': 3 };
  const ends = [];
  for (const [channel, clients] of Object.entries(crowds)) ends.push(await server.listen(channel, clients));
  for (const [channel, perSecond] of [['news', 9], ['weather', 3], ['sensor-7', 14]]) ends.push(server.traffic(channel, perSecond));
  await server.publish('archive', 'nobody listens to this one');
  await server.publish(`a-name-of-128-bytes-${'x'.repeat(108)}`, 'nor to this one');
  const begun = Date.now();
  const burst = setInterval(() => {
    const phase = Math.sin((Date.now() - begun) / 6000) + Math.sin((Date.now() - begun) / 1700);
    for (let i = 0; i < 4 + 4 * phase; i++) server.publish('alerts', `door ${i}`).catch(() => {});
  }, 500);
  ends.push(() => clearInterval(burst));
  return () => ends.forEach((end) => end());
}

const shown = (page, selector) => until(`${selector} is shown`, () => page.$eval(selector, (element) => element.checkVisibility()));

const live = (page) => until('the page is live', () => page.$eval('html', (root) => root.dataset.state === 'live'));

async function watch(page, channel) {
  await page.fill('#watch-channel', channel);
  await page.keyboard.press('Enter');
}

/** A wrong token, a watch that is refused, and a publish without a token. */
async function fail(page) {
  await page.fill('#token', 'not-the-token');
  await page.keyboard.press('Enter');
  await until('the token is wrong', () => page.$eval('#token-problem', ({ textContent }) => textContent !== ''));
  await watch(page, 'not a name');
  await page.fill('#publish-text', 'olá');
  await page.click('#publish button');
  await until('the refusals are there', () => page.$eval('#publish-result button', (button) => button.checkVisibility()));
}

async function unlock(page) {
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await shown(page, '#listing');
  await watch(page, 'quiet');
  await shown(page, '#clients tbody tr');
}

async function use(page, server) {
  await watch(page, 'bulletin');
  await shown(page, '#messages li');
  await page.fill('#publish-text', 'olá, São Paulo');
  await page.click('#publish button');
  await until('the answer is there', () => page.$eval('#publish-result', (result) => result.classList.contains('good')));
  await page.click('#messages li button');
}

async function shoot(name, page) {
  const path = join(folder, `${name}.png`);
  // A tab in the background draws nothing.
  await page.bringToFront();
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  // The window as high as the page: a picture of more than the window may miss what was not painted yet.
  const viewport = page.viewportSize();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ ...viewport, height });
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  await page.screenshot({ path });
  await page.setViewportSize(viewport);
  console.log(path);
}

await mkdir(folder, { recursive: true });
const data = await mkdtemp(join(tmpdir(), 'sse-server-page-'));
const browsers = { light: await Browser.open('chromium'), dark: await Browser.open('chromium', { dark: true }) };
const ends = [];
const started = async (thing) => { ends.push(thing); return thing; };
try {
  const redis = await started(await Redis.start());
  const server = await started(await Server.start());
  const [member, other] = [await started(await Server.start({ REDIS_URL: redis.url })), await started(await Server.start({ REDIS_URL: redis.url }))];
  const openAll = async ({ url }) => Promise.all(LOOKS.map(async ({ name, dark, ...look }) => [name, await browsers[dark ? 'dark' : 'light'].page(url, look)]));
  const pages = await openAll(server);
  const inEach = async (state, act) => {
    for (const [name, page] of pages) {
      await page.bringToFront();
      await act(page);
      await shoot(`${name}-${state}`, page);
    }
  };
  await inEach('1-first-look', live);
  await inEach('2-refusals', fail);
  const quiet = await traffic(server);
  await server.publish('bulletin', 'Good morning. All lines are open.');
  await server.publish('bulletin', '{"door": "north", "open": true}', '?event=alert');
  await inEach('3-nothing-yet', unlock);
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  await inEach('4-in-use', (page) => use(page, server));
  quiet();
  await other.listen('news', 12);
  const clustered = await openAll(member);
  for (const [name, page] of clustered) {
    await live(page);
    await until('both servers are shown', () => page.$eval('#servers', (table) => table.rows.length === 4));
    await shoot(`${name}-5-several-servers`, page);
  }
  await redis.kill();
  for (const [name, page] of clustered) {
    await page.bringToFront();
    await shown(page, '#away');
    await shoot(`${name}-6-redis-away`, page);
  }
  const keeping = await started(await Server.start({ DATA_DIR: data }));
  execFileSync('prlimit', ['--pid', `${keeping.child.pid}`, '--fsize=2000000:unlimited']);
  await until('its disk is full', () => keeping.publish('news', 'x'.repeat(60_000)).then(() => false, () => true));
  for (const [name, page] of await openAll(keeping)) {
    await shown(page, '#away');
    await shoot(`${name}-7-disk-full`, page);
  }
  await server.kill();
  await inEach('8-lost', (page) => until('it is lost', async () => /[45]/.test(await page.$eval('#state-text', (state) => state.textContent))));
} finally {
  for (const browser of Object.values(browsers)) await browser.close();
  for (const thing of ends) await (thing.close ?? thing.kill).call(thing);
  await rm(data, { recursive: true, force: true });
}
