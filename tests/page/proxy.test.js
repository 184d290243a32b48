// The page behind a proxy, at PAGE_URL, which has a path of its own. Called by tests/it/proxy.rs.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Browser } from './browser.js';
import { until } from './server.js';

const { BROWSER, PAGE_URL, TOKEN } = process.env;
let browser;

before(async () => { browser = await Browser.open(BROWSER); });
after(() => browser?.close());

for (const url of [PAGE_URL, PAGE_URL.replace(/\/$/, '')]) {
  test(`everything on the page works at ${new URL(url).pathname}`, async () => {
    const page = await browser.page(url);
    const text = (selector) => page.$eval(selector, (element) => element.textContent);
    await until('the page is live', () => page.$eval('html', (root) => root.dataset.state === 'live'));
    await page.type('#token', TOKEN);
    await page.keyboard.press('Enter');
    await until('the channels are listed', () => page.$eval('#listing', (list) => list.checkVisibility()));
    await page.click('#watch-button');
    await until('the channel is watched', async () => /^Watching news/.test(await text('#watch-state')));
    await page.type('#publish-text', 'through the proxy');
    await page.click('#publish button');
    await until('the message went all the way', async () => (await text('#messages')).includes('through the proxy'));
    for (const link of await page.$$eval('footer a', (links) => links.map(({ href }) => href))) {
      assert.ok(link.startsWith(PAGE_URL), `${link} is behind the proxy`);
    }
    assert.equal((await fetch(await page.$eval('footer a:last-child', ({ href }) => href))).status, 200);
    assert.deepEqual(page.seen.complaints, []);
    await page.close();
  });
}
