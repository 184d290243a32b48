// The picture of the page at the top of the README: five minutes of a small newsroom, as somebody with the token sees it.
// Called by `make screenshots`, with the path of the picture.

import { writeFile } from 'node:fs/promises';
import { Browser } from './browser.js';
import { png } from './palette.js';
import { Server, TOKEN, until } from './server.js';

const [path] = process.argv.slice(2);
/** As much as the plots have room for. */
const SECONDS = Number(process.env.SECONDS ?? 300);
/** The address that the README uses, wherever this server listens. */
const ADDRESS = 'localhost:8080';

/** Clients at the beginning. */
const CROWDS = { notícias: 64, weather: 31, 'são-paulo': 18, 'orders-17': 4, alerts: 6, lobby: 2, 'sensor-7': 5, 'sensor-8': 5, 'sensor-12': 1, 'build-log': 1 };

/** Messages a second. */
const RATES = { 'sensor-7': 5, 'sensor-8': 2, 'sensor-12': 1, notícias: 0.6, 'são-paulo': 0.4, 'build-log': 3, 'orders-17': 0.2, lobby: 0.2 };

/** What the watched channel gets over the time: text, event. */
const ALERTS = [
  ['Good morning. All doors are closed.'],
  ['{"door": "north", "open": true, "badge": 17}', 'door'],
  ['{"door": "north", "open": false, "badge": 17}', 'door'],
  ['Chuva forte em São Paulo à tarde'],
  ['Olá'],
];

/** Rates that rise and fall, and a crowd that grows in the first half. */
async function traffic(server) {
  const begun = Date.now();
  let joined = 0;
  let told = 0;
  const tick = setInterval(() => {
    const seconds = (Date.now() - begun) / 1000;
    const swing = 1 + Math.sin(seconds / 23) / 2 + Math.sin(seconds / 7) / 3;
    for (let i = 0; i < 4 * swing; i++) server.publish('weather', `${(21 + swing).toFixed(1)} °C`).catch(() => {});
    if (joined < 90 && seconds > joined * (SECONDS / 180)) {
      joined += 1;
      server.listen('notícias', 1).catch(() => {});
    }
    if (told < ALERTS.length && seconds > (told + 0.5) * (SECONDS / ALERTS.length)) {
      const [text, event] = ALERTS[told];
      told += 1;
      server.publish('alerts', text, event ? `?event=${event}` : '').catch(() => {});
    }
  }, 500);
  const ends = Object.entries(RATES).map(([channel, perSecond]) => server.traffic(channel, perSecond));
  for (const [channel, clients] of Object.entries(CROWDS)) await server.listen(channel, clients);
  return () => {
    clearInterval(tick);
    ends.forEach((end) => end());
  };
}

/** From the top of the page to the end of what is watched. */
async function shoot(page) {
  // The two columns end alike: the field for a message can be made higher.
  const bottom = await page.evaluate(() => {
    const end = (id) => document.getElementById(id).closest('.card').getBoundingClientRect().bottom;
    const field = document.getElementById('publish-text');
    field.style.height = `${field.offsetHeight + end('channels') - end('watch-card')}px`;
    return end('watch-card') + scrollY;
  });
  const { width } = page.viewportSize();
  await page.setViewportSize({ width, height: Math.round(bottom + 8) });
  const taken = await page.screenshot();
  const pixels = await page.evaluate(async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
    canvas.drawImage(image, 0, 0);
    const { data } = canvas.getImageData(0, 0, image.width, image.height);
    return Array.from({ length: data.length / 4 }, (_, at) => (data[4 * at] << 16) | (data[4 * at + 1] << 8) | data[4 * at + 2]);
  }, `data:image/png;base64,${taken.toString('base64')}`);
  return png(width, pixels.length / width, pixels);
}

const server = await Server.start();
let browser;
try {
  const quiet = await traffic(server);
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  browser = await Browser.open('chromium', { hosts: `MAP ${ADDRESS} ${server.address}` });
  const page = await browser.page(`http://${ADDRESS}/`, { width: 1280, height: 1000 });
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await until('the channels are listed', () => page.$eval('#listing', (list) => list.checkVisibility()));
  await page.fill('#watch-channel', 'alerts');
  await page.keyboard.press('Enter');
  await until('the messages are shown', () => page.$$eval('#messages li', (list) => list.length >= 5));
  const rates = () => page.$$eval('#channels tbody tr', (rows) => rows.map((row) => row.cells[2].textContent));
  await until('most channels have a rate', async () => (await rates()).filter((rate) => rate !== '0').length >= 7);
  await page.click('#messages li:nth-child(4) button');
  await page.mouse.move(0, 0);
  await until('the clients are listed', () => page.$$eval('#clients tbody tr', (list) => list.length === 7));
  await page.evaluate(() => document.activeElement.blur());
  await writeFile(path, await shoot(page));
  quiet();
} finally {
  await browser?.close();
  await server.close();
}
