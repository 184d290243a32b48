// Pictures of the page, light and dark, desktop and phone, with traffic and after the server is lost, into the folder
// that is named. Called by `make screenshots`.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Browser } from './browser.js';
import { Server, TOKEN, until } from './server.js';

const [folder] = process.argv.slice(2);
/** Seconds of traffic before the pictures: something to plot. */
const SECONDS = Number(process.env.SECONDS ?? 60);

const SCREENS = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844, scale: 2 } };

/** A small newsroom: channels of different sizes, and a few bursts. */
async function traffic(server) {
  const crowds = { news: 40, alerts: 25, 'são-paulo': 18, weather: 12, 'sensor-7': 3 };
  const ends = [];
  for (const [channel, clients] of Object.entries(crowds)) ends.push(await server.listen(channel, clients));
  for (const [channel, perSecond] of [['news', 9], ['weather', 3], ['sensor-7', 14]]) ends.push(server.traffic(channel, perSecond));
  await server.publish('archive', 'nobody listens to this one');
  const begun = Date.now();
  const burst = setInterval(() => {
    const phase = Math.sin((Date.now() - begun) / 6000) + Math.sin((Date.now() - begun) / 1700);
    for (let i = 0; i < 4 + 4 * phase; i++) server.publish('alerts', `door ${i}`).catch(() => {});
  }, 500);
  ends.push(() => clearInterval(burst));
  return () => ends.forEach((end) => end());
}

async function use(page, server) {
  // A tab in the background draws nothing.
  await page.bringToFront();
  await until('the page is live', () => page.$eval('html', (root) => root.dataset.state === 'live'));
  await page.type('#token', TOKEN);
  await page.keyboard.press('Enter');
  await until('the channels are listed', () => page.$eval('#listing', (list) => list.checkVisibility()));
  await page.$eval('#watch-channel', (field) => { field.value = 'bulletin'; });
  await page.click('#watch-button');
  await until('it listens', async () => (await page.$eval('#watch-state', (state) => state.textContent)).startsWith('Watching'));
  await server.publish('bulletin', 'Good morning. All lines are open.');
  await server.publish('bulletin', '{"door": "north", "open": true}', '?event=alert');
  await page.type('#publish-text', 'olá, São Paulo');
  await page.click('#publish button');
  await until('the answer is there', () => page.$eval('#publish-result', (result) => result.textContent !== ''));
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
}

await mkdir(folder, { recursive: true });
const server = await Server.start();
const browsers = [];
try {
  const pages = [];
  for (const dark of [false, true]) {
    const browser = await Browser.open('chromium', { dark });
    browsers.push(browser);
    for (const [screen, size] of Object.entries(SCREENS)) {
      const page = await browser.page(server.url, size);
      pages.push([`${screen}-${dark ? 'dark' : 'light'}`, page]);
    }
  }
  const [[, first]] = pages;
  await until('the page is live', () => first.$eval('html', (root) => root.dataset.state === 'live'));
  const shoot = async (name, page) => {
    const path = join(folder, `${name}.png`);
    await page.bringToFront();
    // The window as high as the page: a picture of more than the window may miss what was not painted yet.
    const { width, deviceScaleFactor } = page.viewport();
    const height = await page.evaluate(() => document.documentElement.scrollHeight);
    await page.setViewport({ width, height, deviceScaleFactor });
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await page.screenshot({ path });
    console.log(path);
  };
  await shoot('desktop-light-first-look', first);
  const quiet = await traffic(server);
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  for (const [, page] of pages) await use(page, server);
  await new Promise((resolve) => setTimeout(resolve, 4000));
  for (const [name, page] of pages) await shoot(name, page);
  quiet();
  await server.kill();
  for (const [name, page] of pages) {
    await until('it is lost', async () => /[45]/.test(await page.$eval('#state-text', (state) => state.textContent)));
    await shoot(`${name}-lost`, page);
  }
} finally {
  for (const browser of browsers) await browser.close();
  await server.close();
}
