// EventSource with ?last=1 in a real browser (BROWSER: chromium or firefox). Called by tests/it/page.rs.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Browser } from './browser.js';
import { inFrontOf } from './front.js';
import { Server, until } from './server.js';

let browser;
before(async () => { browser = await Browser.open(process.env.BROWSER); });
after(() => browser?.close());

test('the current value comes at once, and a reconnect neither repeats nor misses', async () => {
  const server = await Server.start();
  const front = await inFrontOf(server);
  const page = await browser.page(front.url);
  try {
    for (const text of ['old', 'older', 'current']) await server.publish('gauge', text);
    await page.evaluate(() => {
      window.seen = [];
      window.opened = 0;
      const stream = new EventSource('/sse/gauge?last=1');
      stream.onopen = () => { window.opened += 1; };
      stream.onmessage = (event) => window.seen.push(event.data);
      stream.addEventListener('sse-gap', (event) => window.seen.push(`gap ${event.data}`));
    });
    const seen = () => page.evaluate(() => window.seen);
    await until('the current value is there', async () => (await seen()).length > 0);
    assert.deepEqual(await seen(), ['current']);
    const expected = ['current'];
    for (let round = 0; round < 3; round += 1) {
      const opened = await page.evaluate(() => window.opened);
      await server.publish('gauge', `live ${round}`);
      await until('it is shown', async () => (await seen()).includes(`live ${round}`));
      front.cut();
      await server.publish('gauge', `missed ${round}`);
      await server.publish('gauge', `missed too ${round}`);
      expected.push(`live ${round}`, `missed ${round}`, `missed too ${round}`);
      await until('it is back', () => page.evaluate((before) => window.opened > before, opened));
      await until('it has what it missed', async () => (await seen()).includes(`missed too ${round}`));
    }
    await server.publish('gauge', 'end');
    await until('the end is there', async () => (await seen()).includes('end'));
    assert.deepEqual(await seen(), [...expected, 'end']);
  } finally {
    await page.close();
    front.close();
    await server.close();
  }
});
