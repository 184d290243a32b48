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
    const live = () => until('the page is live', () => page.$eval('html', (root) => root.dataset.state === 'live'));
    const isShown = (selector) => page.$eval(selector, (element) => element.checkVisibility());
    await live();
    const history = await (await fetch(new URL('stats/history', PAGE_URL))).json();
    await until('the plots begin with what was before', () => page.$eval('.plot .curve', (curve, kept) => curve.getAttribute('d').split('L').length >= kept, Math.min(history.samples.length, 300)));
    await page.fill('#token', TOKEN);
    await page.press('#token', 'Enter');
    await until('the channels are listed', () => isShown('#listing'));
    await page.click('#watch-button');
    await until('the channel is watched', async () => /^Watching news/.test(await text('#watch-state')));
    assert.equal(page.url(), `${url}#news`);
    await page.fill('#publish-text', 'through the proxy');
    await page.click('#publish button');
    await until('the message went all the way', async () => (await text('#messages')).includes('through the proxy'));
    await page.reload();
    await live();
    await until('the address keeps what is watched', async () => (await text('#messages')).includes('through the proxy'));
    // The stream of before the reload may be there for a moment.
    await until('the page alone is in the list of clients', async () => (await isShown('#clients-card')) && (await page.$$('#clients tbody tr')).length === 1);
    page.on('dialog', (dialog) => dialog.accept());
    await page.click('#clients tbody button');
    await until('its stream was ended', async () => /^An operator has ended/.test(await text('#watch-state')));
    for (const link of await page.$$eval('footer a', (links) => links.map(({ href }) => href))) {
      assert.ok(link.startsWith(PAGE_URL), `${link} is behind the proxy`);
      assert.equal((await fetch(link)).status, 200, link);
    }
    for (const command of ['#watch-command', '#publish-command']) assert.ok((await text(command)).includes(`'${PAGE_URL}`), command);
    const outside = page.seen.requests.filter((asked) => !asked.startsWith(PAGE_URL) && !asked.startsWith('data:') && asked.split('#')[0] !== url);
    assert.deepEqual(outside, [], 'it asks for nothing outside of its path');
    assert.deepEqual(page.seen.complaints, []);
    await page.close();
  });
}
